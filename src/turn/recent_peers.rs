//! The peers that a user has had in the last ten minutes, and how many of them were new.

use std::collections::HashMap;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Mono;
use crate::rate::{Gcra, Limit};

/// The time for which a user's peer is remembered after its permission or channel has ended.
const MEMORY: Duration = Duration::from_secs(600);

/// Peers of a generation. A user has two, so that the memory of a scan is bounded; what is forgotten
/// too early counts as new.
const MAX_PEERS: usize = 448;

/// A peer as the limit counts it. A permission has port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    ip: [u8; 16],
    port: u16,
}

/// The peers of one user, and how many of them were new.
#[derive(Debug, Default)]
pub(super) struct RecentPeers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of new peers.
    used: Gcra,
    /// The time until which each peer is remembered.
    current: HashMap<Peer, Mono>,
    /// The generation before, when `current` is full.
    previous: HashMap<Peer, Mono>,
}

impl Peer {
    fn new(ip: IpAddr, port: u16) -> Peer {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        Peer { ip, port }
    }

    /// Returns the peer of a permission.
    pub(super) fn of_permission(ip: IpAddr) -> Peer {
        Peer::new(ip, 0)
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer::new(address.ip(), address.port())
    }
}

impl RecentPeers {
    /// Counts the peers that are new, and remembers all of them as peers until `end`. Returns false,
    /// and changes nothing, if the new ones exceed the limit. `held` are peers that are not new
    /// because a permission or a channel for them exists.
    pub(super) fn admit(
        &self,
        limit: Limit,
        now: Mono,
        new: &[Peer],
        held: &[Peer],
        end: Mono,
    ) -> bool {
        if limit == Limit::UNLIMITED {
            return true;
        }
        let mut state = self.state();
        let unknown = new.iter().filter(|peer| !state.knows(peer, now)).count();
        if unknown > 0 && !state.used.take(limit, now, unknown as u64) {
            return false;
        }
        for peer in new.iter().chain(held) {
            state.remember(*peer, end + MEMORY);
        }
        true
    }

    /// Remembers the peer of a permission or channel that ends at `end`, without counting it.
    pub(super) fn restore(&self, peer: Peer, end: Mono) {
        self.state().remember(peer, end + MEMORY);
    }

    /// Returns whether the limit is back in its initial state.
    pub(super) fn is_idle(&self, now: Mono) -> bool {
        self.state().used.is_idle(now)
    }

    /// Returns how much of the limit is used, for [`RecentPeers::merge`].
    pub(super) fn used(&self) -> Gcra {
        self.state().used
    }

    /// Adds the use of a previous process: afterwards at least as much is used as in `earlier`.
    pub(super) fn merge(&self, earlier: Gcra) {
        self.state().used.merge(earlier);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn knows(&self, peer: &Peer, now: Mono) -> bool {
        let until = self.current.get(peer).or_else(|| self.previous.get(peer));
        until.is_some_and(|until| *until > now)
    }

    fn remember(&mut self, peer: Peer, until: Mono) {
        if let Some(known) = self.current.get_mut(&peer) {
            *known = until.max(*known);
            return;
        }
        let known = self.previous.remove(&peer);
        if self.current.len() >= MAX_PEERS {
            self.previous = mem::take(&mut self.current);
        }
        let until = known.map_or(until, |known| until.max(known));
        self.current.insert(peer, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000_000_000);

    fn peer(number: u32) -> Peer {
        Peer::of_permission(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn a_scan_keeps_a_bounded_number_of_peers() {
        let (peers, limit) = (RecentPeers::default(), Limit::per_second(1, 1_000_000));
        for number in 0..100_000 {
            assert!(peers.admit(limit, NOW, &[peer(number)], &[], NOW));
            let state = peers.state();
            assert!(state.current.len() + state.previous.len() <= 2 * MAX_PEERS);
            assert!(state.knows(&peer(number), NOW));
        }
        assert!(!peers.state().knows(&peer(0), NOW));
    }

    #[test]
    fn a_peer_in_use_outlives_generations() {
        let (peers, limit) = (RecentPeers::default(), Limit::per_second(1, 1_000_000));
        for number in 0..100_000 {
            assert!(number == 0 || peers.state().knows(&peer(0), NOW));
            assert!(peers.admit(limit, NOW, &[peer(number)], &[peer(0)], NOW));
        }
    }

    #[test]
    fn a_peer_without_use_is_forgotten_in_time() {
        let (peers, limit) = (RecentPeers::default(), Limit::per_second(1, 9));
        let end = NOW + Duration::from_secs(300);
        assert!(peers.admit(limit, NOW, &[peer(1)], &[], end));
        let last = end + MEMORY;
        assert!(peers.state().knows(&peer(1), Mono(last.0 - 1)));
        assert!(!peers.state().knows(&peer(1), last));
    }
}
