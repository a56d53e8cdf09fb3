//! What the network says of datagrams that went to a peer (RFC 8656 section 11.5).

use std::net::SocketAddr;

use rand::Rng;

use crate::clock::Now;
use crate::rate::Limit;
use crate::stun::{Attribute, Class, Method, Writer};

use super::{AllocationId, DropReason, Route, Server};

/// Errors a second that the client of an allocation is icmp_limiter of, and how many at once. Whoever knows
/// a relayed address can have its socket hear of any number: one is enough to give a peer up.
const RATE: u64 = 10;
const BURST: u64 = 20;

/// An ICMP error. What its numbers mean depends on the family of `peer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Where the datagram went that it is about. The port is 0 where the system did not tell it.
    pub peer: SocketAddr,
    pub kind: u8,
    pub code: u8,
    /// The MTU of the next hop, where the datagram was too large for it.
    pub mtu: u32,
}

impl IcmpError {
    /// A datagram to `peer` that does not fit into `mtu`, as a router would say it.
    pub fn too_big(peer: SocketAddr, mtu: u32) -> IcmpError {
        let (kind, code) = if peer.is_ipv4() { (3, 4) } else { (2, 0) };
        IcmpError {
            peer,
            kind,
            code,
            mtu,
        }
    }

    /// Destination unreachable and time exceeded, and that a packet is too big.
    fn is_reported(&self) -> bool {
        match self.peer {
            SocketAddr::V4(_) => matches!(self.kind, 3 | 11),
            SocketAddr::V6(_) => matches!(self.kind, 1..=3),
        }
    }

    /// The value of the attribute (RFC 8656 section 18.13): 16 bits reserved, the type in 7, the
    /// code in 9, and the MTU of the next hop or nothing.
    fn value(&self) -> [u8; 8] {
        let of_size = IcmpError::too_big(self.peer, self.mtu);
        let tells_mtu = match self.peer {
            SocketAddr::V4(_) => (self.kind, self.code) == (of_size.kind, of_size.code),
            SocketAddr::V6(_) => self.kind == of_size.kind,
        };
        let data = if tells_mtu { self.mtu } else { 0 };
        let word = u32::from(self.kind) << 9 | u32::from(self.code);
        let value = u64::from(word) << 32 | u64::from(data);
        value.to_be_bytes()
    }
}

impl Server {
    /// Takes an error about a datagram that left by the relay socket of `id`. Where its client is
    /// to hear of it, the Data indication is in [`Server::response`], and this is the way to it.
    ///
    /// # Errors
    ///
    /// Why the client hears nothing.
    pub fn handle_icmp_error(
        &mut self,
        now: Now,
        id: AllocationId,
        error: &IcmpError,
    ) -> Result<Route, DropReason> {
        if !error.is_reported() {
            return Err(DropReason::IcmpType);
        }
        if !self.settings.policy.permits_port(error.peer) {
            return Err(DropReason::PeerDenied);
        }
        let allocation = self.table.get(id).ok_or(DropReason::NoAllocation)?;
        let ip = error.peer.ip();
        if !allocation.has_permission(ip) {
            return Err(DropReason::NoPermission);
        }
        let limit = Limit::per_second(RATE, BURST);
        if !allocation.icmp_limiter.take(limit, now.mono, 1) {
            return Err(DropReason::IcmpRate);
        }
        let route = allocation.route;
        let mut transaction = [0; 12];
        self.random.fill_bytes(&mut transaction);
        self.response.clear();
        Writer::new(
            &mut self.response,
            Method::DATA,
            Class::Indication,
            transaction,
        )
        .xor_address(Attribute::XOR_PEER_ADDRESS, error.peer)
        .attribute(Attribute::ICMP, &error.value());
        Ok(route)
    }
}
