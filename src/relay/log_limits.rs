//! Limits the log lines of a shard. Events that clients can cause as often as they like are logged at a
//! limited rate, as a count, or at DEBUG.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, Now};
use crate::ingress::LiveLimits;
use crate::rate::{Gcra, Limit, PerIpLimiter};
use crate::turn::{DropReason, ErrorReason, Session};

use super::counters::transport_name;

/// Errors because of a limit that an admin can raise.
const QUOTA_ERRORS: [ErrorReason; 4] = [
    ErrorReason::UserQuota,
    ErrorReason::AddressQuota,
    ErrorReason::TotalQuota,
    ErrorReason::NoPort,
];

/// Errors that an admin may ban an address for. The client has returned a nonce, so its address is not
/// forged. An expired credential is none of these: clients in long calls have one.
const CREDENTIAL_ERRORS: [ErrorReason; 3] = [
    ErrorReason::BadCredential,
    ErrorReason::UnknownUser,
    ErrorReason::UnknownRealm,
];

/// Limits of log lines about credential errors: in total and per source. Memory is allocated at the start.
const CREDENTIAL_ERROR_INTERVAL: Duration = Duration::from_secs(1);
const CREDENTIAL_ERROR_BURST: u64 = 60;
const CREDENTIAL_ERROR_INTERVAL_PER_SOURCE: Duration = Duration::from_secs(6);
const CREDENTIAL_ERROR_BURST_PER_SOURCE: u64 = 10;
const MAX_CREDENTIAL_ERROR_SOURCES: usize = 1024;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) struct LogLimiter {
    limits: Arc<LiveLimits>,
    binds: Gcra,
    quotas: [Gcra; QUOTA_ERRORS.len()],
    credential_errors: Gcra,
    credential_errors_by_source: PerIpLimiter,
    suppressed: SuppressedCount,
    rate_limited: SuppressedCount,
}

/// Counts events that are logged in total: the first at once, further ones once a minute.
#[derive(Debug)]
struct SuppressedCount {
    count: u64,
    /// The time at which the count may be logged again.
    next: Mono,
}

impl Default for SuppressedCount {
    fn default() -> SuppressedCount {
        SuppressedCount {
            count: 0,
            next: Mono(0),
        }
    }
}

impl SuppressedCount {
    fn due(&self) -> Option<Mono> {
        (self.count > 0).then_some(self.next)
    }

    /// Takes the count if it may be logged.
    fn take(&mut self, now: Mono) -> Option<u64> {
        self.due().filter(|due| *due <= now)?;
        self.next = now + MINUTE;
        Some(mem::take(&mut self.count))
    }
}

impl LogLimiter {
    pub(super) fn new(limits: Arc<LiveLimits>) -> LogLimiter {
        let of_source = Limit::every(
            CREDENTIAL_ERROR_INTERVAL_PER_SOURCE,
            CREDENTIAL_ERROR_BURST_PER_SOURCE,
        );
        LogLimiter {
            limits,
            binds: Gcra::default(),
            quotas: Default::default(),
            credential_errors: Gcra::default(),
            credential_errors_by_source: PerIpLimiter::new(of_source, MAX_CREDENTIAL_ERROR_SOURCES),
            suppressed: SuppressedCount::default(),
            rate_limited: SuppressedCount::default(),
        }
    }

    /// A relay socket could not be bound. The most common reason is the limit of descriptors.
    pub(super) fn bind_failed(&mut self, now: Now, address: SocketAddr, error: &io::Error) {
        if self.binds.take(Limit::per_minute(), now.mono, 1) {
            tracing::warn!(%address, %error, "a relay socket could not be bound");
        }
    }

    /// A request was refused. Reached quotas and wrong credentials are logged. `connection` is the
    /// number of the client's connection; `None` over UDP.
    pub(super) fn refused(
        &mut self,
        now: Now,
        connection: Option<u64>,
        client: SocketAddr,
        refusal: ErrorReason,
    ) {
        if let Some(index) = QUOTA_ERRORS.iter().position(|quota| *quota == refusal)
            && self.quotas[index].take(Limit::per_minute(), now.mono, 1)
        {
            tracing::info!(connection, reason = %refusal, "relay quota reached");
        }
        if CREDENTIAL_ERRORS.contains(&refusal) {
            let client = client.ip().to_canonical();
            // A ban of a proxy would ban all clients behind it.
            if !self.limits.is_proxy(client) && self.may_log(now.mono, client) {
                // docs/run/fail2ban/filter.d/parlor.conf reads this line.
                tracing::info!(%client, reason = %refusal, "relay credential refused");
            } else {
                self.suppressed.count += 1;
            }
        }
    }

    fn may_log(&mut self, now: Mono, client: IpAddr) -> bool {
        let of_all = Limit::every(CREDENTIAL_ERROR_INTERVAL, CREDENTIAL_ERROR_BURST);
        self.credential_errors_by_source.take(client, now)
            && self.credential_errors.take(of_all, now, 1)
    }

    /// A datagram was dropped.
    pub(super) fn dropped(&mut self, dropped: DropReason) {
        if dropped == DropReason::UnauthenticatedRate {
            self.rate_limited.count += 1;
        }
    }

    /// The time at which [`LogLimiter::log_suppressed`] must be called.
    pub(super) fn due(&self) -> Option<Mono> {
        let (suppressed, rate_limited) = (self.suppressed.due(), self.rate_limited.due());
        suppressed.into_iter().chain(rate_limited).min()
    }

    /// Logs the counts that are due.
    pub(super) fn log_suppressed(&mut self, now: Now) {
        if let Some(count) = self.rate_limited.take(now.mono) {
            tracing::info!(
                count,
                "unauthenticated datagrams over the rate limit dropped"
            );
        }
        if let Some(count) = self.suppressed.take(now.mono) {
            tracing::info!(count, "further relay credential errors suppressed");
        }
    }
}

/// Logs a new allocation. `connection` is the number of the client's connection; `None` over UDP.
pub(super) fn granted(session: &Session, connection: Option<u64>) {
    let Session {
        user, room, client, ..
    } = session;
    let (user, room) = (&**user, room.as_deref());
    let transport = transport_name(session.transport);
    tracing::debug!(connection, user, room, transport, %client, "allocation granted");
}

/// Logs the end of an allocation, with the bytes of application data in both directions.
pub(super) fn ended(session: &Session) {
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
    fn credential_errors_from_one_address_are_limited_and_do_not_hide_those_of_others() {
        let mut limiter = LogLimiter::new(Arc::default());
        let logged = |limiter: &mut LogLimiter, now, host: u8| {
            let client = IpAddr::from([192, 0, 2, host]);
            (0..1000).filter(|_| limiter.may_log(now, client)).count()
        };
        assert_eq!(logged(&mut limiter, NOW, 1), 10);
        assert_eq!(logged(&mut limiter, NOW, 2), 10);
        assert_eq!(logged(&mut limiter, NOW + MINUTE, 1), 10);
    }

    #[test]
    fn credential_errors_from_many_addresses_are_logged_sixty_times_a_minute() {
        let mut limiter = LogLimiter::new(Arc::default());
        let everywhere = |limiter: &mut LogLimiter, now| {
            let clients =
                (0..10_000u32).map(|host| IpAddr::from((0x1900_0000 + host).to_be_bytes()));
            clients
                .filter(|client| limiter.may_log(now, *client))
                .count()
        };
        assert_eq!(everywhere(&mut limiter, NOW), 60);
        assert_eq!(everywhere(&mut limiter, NOW + MINUTE), 60);
    }

    #[test]
    fn rate_limited_datagrams_are_logged_at_once_and_then_once_a_minute_with_their_count() {
        let mut limiter = LogLimiter::new(Arc::default());
        assert_eq!(limiter.due(), None);
        limiter.dropped(DropReason::NotStun);
        assert_eq!(limiter.due(), None);
        limiter.dropped(DropReason::UnauthenticatedRate);
        assert_eq!(limiter.rate_limited.take(NOW), Some(1));
        assert_eq!(limiter.due(), None);
        (0..50).for_each(|_| limiter.dropped(DropReason::UnauthenticatedRate));
        assert_eq!(limiter.due(), Some(NOW + MINUTE));
        let just_before = Mono((NOW + MINUTE).0 - 1);
        assert_eq!(limiter.rate_limited.take(just_before), None);
        assert_eq!(limiter.rate_limited.take(NOW + MINUTE), Some(50));
        assert_eq!(limiter.rate_limited.take(NOW + 3 * MINUTE), None);
    }
}
