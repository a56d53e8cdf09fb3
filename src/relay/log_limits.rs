//! What a shard says to whoever reads the log. What clients can bring about as often as they like is
//! said so many times a minute at most, or as a count, or at DEBUG.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, Now};
use crate::rate::{Gcra, Limit, PerIpLimiter};
use crate::turn::{DropReason, ErrorReason, Session};

use super::counters::transport_name;
use super::entrance::Proxies;

/// What an admin may raise.
const QUOTAS: [ErrorReason; 4] = [
    ErrorReason::UserQuota,
    ErrorReason::AddressQuota,
    ErrorReason::TotalQuota,
    ErrorReason::NoPort,
];

/// What an admin may ban an address for, which has returned a nonce and so is the asker's own. Not
/// a credential that was good once: whoever stays for long has such.
const GUESSES: [ErrorReason; 3] = [
    ErrorReason::BadCredential,
    ErrorReason::UnknownUser,
    ErrorReason::UnknownRealm,
];

/// Lines about guesses: of all sources, and of one, in cells that are made at the start.
const GUESS: Duration = Duration::from_secs(1);
const GUESSES_AT_ONCE: u64 = 60;
const GUESS_OF_SOURCE: Duration = Duration::from_secs(6);
const GUESSES_OF_SOURCE_AT_ONCE: u64 = 10;
const SOURCES: usize = 1024;

const MINUTE: Duration = Duration::from_secs(60);

pub struct Notices {
    proxies: Arc<Proxies>,
    binds: Gcra,
    quotas: [Gcra; QUOTAS.len()],
    guesses: Gcra,
    guesses_of: PerIpLimiter,
    untold: Tally,
    strangers: Tally,
}

/// What is told as a count: at once, and then of each minute in which there was more of it.
#[derive(Debug)]
struct Tally {
    count: u64,
    /// When it may be told again.
    next: Mono,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            count: 0,
            next: Mono(0),
        }
    }
}

impl Tally {
    fn due(&self) -> Option<Mono> {
        (self.count > 0).then_some(self.next)
    }

    /// The count, when it is time to tell it.
    fn take(&mut self, now: Mono) -> Option<u64> {
        self.due().filter(|due| *due <= now)?;
        self.next = now + MINUTE;
        Some(mem::take(&mut self.count))
    }
}

impl Notices {
    pub fn new(proxies: Arc<Proxies>) -> Notices {
        let of_source = Limit::every(GUESS_OF_SOURCE, GUESSES_OF_SOURCE_AT_ONCE);
        Notices {
            proxies,
            binds: Gcra::default(),
            quotas: Default::default(),
            guesses: Gcra::default(),
            guesses_of: PerIpLimiter::new(of_source, SOURCES),
            untold: Tally::default(),
            strangers: Tally::default(),
        }
    }

    /// Out of descriptors, most likely.
    pub fn bind_failed(&mut self, now: Now, address: SocketAddr, error: &io::Error) {
        if self.binds.take(Limit::per_minute(), now.mono, 1) {
            tracing::warn!(%address, %error, "a relay socket could not be bound");
        }
    }

    /// A request was refused. Quotas are told of, each by itself; whose credential is wrong, too.
    pub fn refused(&mut self, now: Now, client: SocketAddr, refusal: ErrorReason) {
        if let Some(index) = QUOTAS.iter().position(|quota| *quota == refusal)
            && self.quotas[index].take(Limit::per_minute(), now.mono, 1)
        {
            tracing::info!(reason = %refusal, "a quota of the relay is reached");
        }
        if GUESSES.contains(&refusal) {
            let client = client.ip().to_canonical();
            // A ban of a proxy would ban all clients behind it.
            if !self.proxies.trusts(client) && self.may_tell(now.mono, client) {
                // docs/run/fail2ban/filter.d/parlor.conf reads this line.
                tracing::info!(%client, reason = %refusal, "relay credential refused");
            } else {
                self.untold.count += 1;
            }
        }
    }

    fn may_tell(&mut self, now: Mono, client: IpAddr) -> bool {
        let of_all = Limit::every(GUESS, GUESSES_AT_ONCE);
        self.guesses_of.take(client, now) && self.guesses.take(of_all, now, 1)
    }

    /// A datagram led to nothing.
    pub fn dropped(&mut self, dropped: DropReason) {
        if dropped == DropReason::UnauthenticatedRate {
            self.strangers.count += 1;
        }
    }

    /// When [`Notices::tell`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let (untold, strangers) = (self.untold.due(), self.strangers.due());
        untold.into_iter().chain(strangers).min()
    }

    /// Tells what was counted.
    pub fn tell(&mut self, now: Now) {
        if let Some(count) = self.strangers.take(now.mono) {
            tracing::info!(count, "strangers over the rate got no answer");
        }
        if let Some(count) = self.untold.take(now.mono) {
            tracing::info!(
                count,
                "more relay credentials were refused than are told of"
            );
        }
    }
}

pub fn granted(session: &Session) {
    let Session {
        user, room, client, ..
    } = session;
    let (user, room) = (&**user, room.as_deref());
    let transport = transport_name(session.transport);
    tracing::debug!(user, room, transport, %client, "allocation granted");
}

/// `bytes` are those of application data, both ways.
pub fn ended(session: &Session) {
    let (user, room) = (&*session.user, session.room.as_deref());
    let transport = transport_name(session.transport);
    let bytes = session.bytes_up + session.bytes_down;
    tracing::debug!(user, room, transport, bytes, "allocation ended");
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000_000_000);

    #[test]
    fn guesses_from_one_address_fill_no_disk_and_hide_nobody_elses() {
        let mut notices = Notices::new(Arc::default());
        let told = |notices: &mut Notices, now, host: u8| {
            let client = IpAddr::from([192, 0, 2, host]);
            (0..1000).filter(|_| notices.may_tell(now, client)).count()
        };
        assert_eq!(told(&mut notices, NOW, 1), 10);
        assert_eq!(told(&mut notices, NOW, 2), 10);
        assert_eq!(told(&mut notices, NOW + MINUTE, 1), 10);
    }

    #[test]
    fn guesses_from_everywhere_are_told_sixty_times_a_minute() {
        let mut notices = Notices::new(Arc::default());
        let everywhere = |notices: &mut Notices, now| {
            let clients =
                (0..10_000u32).map(|host| IpAddr::from((0x1900_0000 + host).to_be_bytes()));
            clients
                .filter(|client| notices.may_tell(now, *client))
                .count()
        };
        assert_eq!(everywhere(&mut notices, NOW), 60);
        assert_eq!(everywhere(&mut notices, NOW + MINUTE), 60);
    }

    #[test]
    fn strangers_are_told_of_at_once_and_then_once_a_minute_with_their_count() {
        let mut notices = Notices::new(Arc::default());
        assert_eq!(notices.due(), None);
        notices.dropped(DropReason::NotStun);
        assert_eq!(notices.due(), None);
        notices.dropped(DropReason::UnauthenticatedRate);
        assert_eq!(notices.strangers.take(NOW), Some(1));
        assert_eq!(notices.due(), None);
        (0..50).for_each(|_| notices.dropped(DropReason::UnauthenticatedRate));
        assert_eq!(notices.due(), Some(NOW + MINUTE));
        let just_before = Mono((NOW + MINUTE).0 - 1);
        assert_eq!(notices.strangers.take(just_before), None);
        assert_eq!(notices.strangers.take(NOW + MINUTE), Some(50));
        assert_eq!(notices.strangers.take(NOW + 3 * MINUTE), None);
    }
}
