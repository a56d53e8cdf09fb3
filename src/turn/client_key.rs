//! A client's five-tuple as a key of hash tables.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use super::{Route, Transport};

/// A five-tuple in 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientKey([u64; 5]);

impl Hash for ClientKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.0 {
            state.write_u64(word);
        }
    }
}

impl ClientKey {
    pub(super) fn of(route: &Route) -> ClientKey {
        let [client_high, client_low] = halves(route.client.ip());
        let [server_high, server_low] = halves(route.server.ip());
        let transport = route.transport as u64;
        let ports = u64::from(route.client.port()) << 16 | u64::from(route.server.port());
        ClientKey([
            client_high,
            client_low,
            server_high,
            server_low,
            transport << 32 | ports,
        ])
    }

    /// Returns whether the two differ in the client's port alone, and the transport is UDP.
    pub(super) fn is_rebound_from(self, earlier: ClientKey) -> bool {
        let (now, before) = (self.0, earlier.0);
        let server = |words: [u64; 5]| words[4] & !(0xffff << 16);
        now[..4] == before[..4]
            && now[4] != before[4]
            && server(now) == server(before)
            && now[4] >> 32 == Transport::Udp as u64
    }
}

fn halves(ip: IpAddr) -> [u64; 2] {
    match ip {
        IpAddr::V4(ip) => [0, 0xffff << 32 | u64::from(u32::from(ip))],
        IpAddr::V6(ip) => [(u128::from(ip) >> 64) as u64, u128::from(ip) as u64],
    }
}
