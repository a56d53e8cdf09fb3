//! The selection of relay ports: an unused port of the shard at random, or another shard that has
//! unused ports.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::{Rng, RngExt};

use crate::net::PortRange;

use super::allocation::PortParity;
use super::directory::PortSet;
use super::settings::Config;
use super::{Directory, NatMapping, Policy, ShardId};

/// Ports that are tried for one relayed address before the Allocate fails with 508.
pub(super) const MAX_BIND_ATTEMPTS: u8 = 16;

/// Random draws until a port belongs to the shard. This suffices for the largest number of shards.
const MAX_DRAWS: usize = 1024;

/// The even ports of a word.
const EVEN_PORTS: u64 = 0x5555_5555_5555_5555;

/// The relay ports, one bit each. If nearly all ports are in use, the last free one is found by
/// reading 1,024 words.
pub(super) struct RelayPorts {
    /// The ports of all shards.
    all: Box<[u64]>,
    /// The ports of this shard.
    own: Box<[u64]>,
    shard: ShardId,
}

impl RelayPorts {
    pub(super) fn new(range: PortRange, directory: &Directory, shard: ShardId) -> RelayPorts {
        let set_of = |belongs: &dyn Fn(u16) -> bool| {
            let mut words = vec![0; 1 << 10].into_boxed_slice();
            for port in (range.first..=range.last).filter(|port| belongs(*port)) {
                words[usize::from(port / 64)] |= 1 << (port % 64);
            }
            words
        };
        RelayPorts {
            all: set_of(&|_| true),
            own: set_of(&|port| directory.shard_of_port(port) == shard),
            shard,
        }
    }

    /// Returns an unused port of this shard for a relayed address on `ip`, chosen at random so that
    /// it cannot be guessed (RFC 8656 section 7.2); `None` if there is none.
    pub(super) fn free_port(
        &self,
        config: &Config,
        policy: &Policy,
        random: &mut impl Rng,
        ip: IpAddr,
        parity: PortParity,
    ) -> Option<u16> {
        let PortRange { first, last } = config.ports;
        let (first, last) = match parity {
            PortParity::Any => (first, last),
            PortParity::Even => (first.checked_add(first & 1)?, last & !1),
            PortParity::Pair => (first.checked_add(first & 1)?, last.checked_sub(1)? & !1),
        };
        if first > last {
            return None;
        }
        let free = FreePorts::new(config, policy, ip, parity);
        let mut port = first;
        for _ in 0..MAX_BIND_ATTEMPTS {
            // Drawing until a port belongs to the shard makes all its ports equally likely.
            let mut draws = (0..MAX_DRAWS).map(|_| random.random_range(first..=last));
            port = draws.find(|port| config.directory.shard_of_port(*port) == self.shard)?;
            if parity != PortParity::Any {
                port &= !1;
            }
            if free.contains(port) {
                return Some(port);
            }
        }
        free.first(&self.own, port)
    }

    /// Returns a shard with an unused port for a relayed address on `ip`: this one if it has one.
    /// A single shard is returned without a check.
    pub(super) fn shard_with_free_port(
        &self,
        config: &Config,
        policy: &Policy,
        ip: IpAddr,
        parity: PortParity,
    ) -> Option<ShardId> {
        if config.directory.shards() == 1 {
            return Some(self.shard);
        }
        let free = FreePorts::new(config, policy, ip, parity);
        let own = free.first(&self.own, 0);
        let port = own.or_else(|| free.first(&self.all, 0))?;
        Some(config.directory.shard_of_port(port))
    }
}

/// The ports of an IP address that no relayed address of any shard uses. Reserved ports, and ports
/// of other programs, count as free: binding them fails.
struct FreePorts<'a> {
    policy: &'a Policy,
    ip: IpAddr,
    parity: PortParity,
    used: Option<Arc<PortSet>>,
}

impl<'a> FreePorts<'a> {
    fn new(config: &Config, policy: &'a Policy, ip: IpAddr, parity: PortParity) -> FreePorts<'a> {
        let mappings = config.host.nat_mappings();
        let relayed = NatMapping::public_address(mappings, SocketAddr::new(ip, 0));
        FreePorts {
            policy,
            ip,
            parity,
            used: config.directory.ports_of(relayed.ip()),
        }
    }

    /// Returns whether the port is free, and of a pair the next port as well.
    fn contains(&self, port: u16) -> bool {
        let next = (self.parity == PortParity::Pair).then_some(port | 1);
        let mut ports = std::iter::once(port).chain(next);
        ports.all(|port| {
            let is_used = self.used.as_ref().is_some_and(|used| used.has(port));
            !is_used && !self.policy.is_listener(SocketAddr::new(self.ip, port))
        })
    }

    /// Returns the first free port of `candidates`, from the word of `start` on and around.
    fn first(&self, candidates: &[u64], start: u16) -> Option<u16> {
        let start = usize::from(start / 64);
        (start..candidates.len()).chain(0..start).find_map(|word| {
            let used = self.used.as_ref().map_or(0, |used| used.word(word));
            let free = candidates[word] & !used;
            let free = match self.parity {
                PortParity::Any => free,
                PortParity::Even => free & EVEN_PORTS,
                PortParity::Pair => free & (free >> 1) & EVEN_PORTS,
            };
            let bits = (0..64).filter(|bit| free >> bit & 1 == 1);
            let mut ports = bits.map(|bit| (64 * word + bit) as u16);
            ports.find(|port| self.contains(*port))
        })
    }
}
