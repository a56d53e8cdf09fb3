//! Which port a relayed address gets: one of the shard's own, drawn at random. And which shard has
//! one left where this one has none.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::RngExt;

use crate::net::PortRange;

use super::allocation::PortParity;
use super::binding::MAX_BIND_ATTEMPTS;
use super::directory::PortSet;
use super::{Directory, NatMapping, Policy, Server, Settings, ShardId};

/// PortParity that are drawn until one belongs to the shard: enough for the most shards there can be.
const DRAWS: usize = 1024;

/// The even ports of a word.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// The relay ports, and those of them that belong to the shard, a bit for each: where nearly all
/// are taken, the last free one is found by a look at 1,024 words.
pub(super) struct RelayPorts {
    all: Box<[u64]>,
    ours: Box<[u64]>,
}

impl RelayPorts {
    pub fn new(range: PortRange, directory: &Directory, shard: ShardId) -> RelayPorts {
        let among = |fits: &dyn Fn(u16) -> bool| {
            let mut words = vec![0; 1 << 10].into_boxed_slice();
            for port in (range.first..=range.last).filter(|port| fits(*port)) {
                words[usize::from(port / 64)] |= 1 << (port % 64);
            }
            words
        };
        RelayPorts {
            all: among(&|_| true),
            ours: among(&|port| directory.shard_of_port(port) == shard),
        }
    }
}

impl Server {
    /// The address with an unused port of the range, drawn by the shard's random generator, so that it
    /// cannot be guessed (RFC 8656 section 7.2); `None` if this shard has no free port.
    pub(super) fn with_port(
        &mut self,
        mut address: SocketAddr,
        ports: PortParity,
    ) -> Option<SocketAddr> {
        address.set_port(self.free_port(address.ip(), ports)?);
        Some(address)
    }

    fn free_port(&mut self, ip: IpAddr, ports: PortParity) -> Option<u16> {
        let PortRange { first, last } = self.settings.ports;
        let (first, last) = match ports {
            PortParity::Any => (first, last),
            PortParity::Even => (first.checked_add(first & 1)?, last & !1),
            PortParity::Pair => (first.checked_add(first & 1)?, last.checked_sub(1)? & !1),
        };
        if first > last {
            return None;
        }
        let (directory, random) = (&self.settings.directory, &mut self.random);
        let room = FreePorts::new(&self.settings, ip, ports);
        let mut port = first;
        for _ in 0..MAX_BIND_ATTEMPTS {
            // Every one of this shard's is as likely.
            let mut draws = (0..DRAWS).map(|_| random.random_range(first..=last));
            port = draws.find(|port| directory.shard_of_port(*port) == self.shard)?;
            port = if ports == PortParity::Any {
                port
            } else {
                port & !1
            };
            if room.has(port) {
                return Some(port);
            }
        }
        room.first(&self.ports.ours, port)
    }

    /// A shard that has a port left for a relayed address on `ip`: this one, if it has. With a single
    /// one there is nothing to choose.
    pub(super) fn shard_with_free_port(&self, ip: IpAddr, ports: PortParity) -> Option<ShardId> {
        let directory = &self.settings.directory;
        if directory.shards() == 1 {
            return Some(self.shard);
        }
        let room = FreePorts::new(&self.settings, ip, ports);
        let ours = room.first(&self.ports.ours, 0);
        let free = ours.or_else(|| room.first(&self.ports.all, 0))?;
        Some(directory.shard_of_port(free))
    }
}

/// The ports of an IP that no relayed address of any shard has. A reserved one counts as free, and
/// so does one that another program has: that is found out when it is bound.
struct FreePorts<'a> {
    policy: &'a Policy,
    ip: IpAddr,
    ports: PortParity,
    taken: Option<Arc<PortSet>>,
}

impl<'a> FreePorts<'a> {
    fn new(settings: &'a Settings, ip: IpAddr, ports: PortParity) -> FreePorts<'a> {
        let relayed =
            NatMapping::public_address(&settings.host.nat_mappings, SocketAddr::new(ip, 0));
        FreePorts {
            policy: &settings.policy,
            ip,
            ports,
            taken: settings.directory.ports_of(relayed.ip()),
        }
    }

    fn has(&self, port: u16) -> bool {
        let next = (self.ports == PortParity::Pair).then_some(port | 1);
        let mut wanted = std::iter::once(port).chain(next);
        wanted.all(|port| {
            let taken = self.taken.as_ref().is_some_and(|taken| taken.has(port));
            !taken && !self.policy.is_listener(SocketAddr::new(self.ip, port))
        })
    }

    /// One of these ports, looked for from `start` on.
    fn first(&self, among: &[u64], start: u16) -> Option<u16> {
        let start = usize::from(start / 64);
        (start..among.len()).chain(0..start).find_map(|word| {
            let taken = self.taken.as_ref().map_or(0, |taken| taken.word(word));
            let free = among[word] & !taken;
            let free = match self.ports {
                PortParity::Any => free,
                PortParity::Even => free & EVEN,
                PortParity::Pair => free & (free >> 1) & EVEN,
            };
            let bits = (0..64).filter(|bit| free >> bit & 1 == 1);
            let mut free = bits.map(|bit| (64 * word + bit) as u16);
            free.find(|port| self.has(*port))
        })
    }
}
