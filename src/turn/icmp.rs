//! ICMP errors about datagrams to peers, reported to clients (RFC 8656 section 11.5).

use std::net::SocketAddr;

use rand::Rng;

use crate::clock::Now;
use crate::rate::Limit;
use crate::stun::{Attribute, Class, Method, Writer};

use super::{AllocationId, DropReason, Route, Server};

/// The rate and the burst of errors that are reported for an allocation. Anybody who knows a
/// relayed address can cause any number of errors, and a client needs only one to give up a peer.
const ERRORS_PER_SECOND: u64 = 10;
const ERROR_BURST: u64 = 20;

/// An ICMP error. The address family of `peer` decides what the type and the code mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// The destination of the datagram that caused the error. The port is 0 if the system did not
    /// report it.
    pub peer: SocketAddr,
    pub kind: u8,
    pub code: u8,
    /// The MTU of the next hop, if the datagram was larger.
    pub mtu: u32,
}

impl IcmpError {
    /// Returns the error of a router whose next hop with `mtu` is too small for a datagram to
    /// `peer`.
    pub fn too_big(peer: SocketAddr, mtu: u32) -> IcmpError {
        let (kind, code) = if peer.is_ipv4() { (3, 4) } else { (2, 0) };
        IcmpError {
            peer,
            kind,
            code,
            mtu,
        }
    }

    /// Returns whether the type is reported: destination unreachable, packet too big and time
    /// exceeded.
    fn is_reported(&self) -> bool {
        match self.peer {
            SocketAddr::V4(_) => matches!(self.kind, 3 | 11),
            SocketAddr::V6(_) => matches!(self.kind, 1..=3),
        }
    }

    /// Returns the value of the ICMP attribute (RFC 8656 section 18.13): 16 reserved bits, 7 bits
    /// type, 9 bits code, then the MTU of the next hop or 0.
    fn value(&self) -> [u8; 8] {
        let too_big = IcmpError::too_big(self.peer, self.mtu);
        let has_mtu = match self.peer {
            SocketAddr::V4(_) => (self.kind, self.code) == (too_big.kind, too_big.code),
            SocketAddr::V6(_) => self.kind == too_big.kind,
        };
        let data = if has_mtu { self.mtu } else { 0 };
        let word = u32::from(self.kind) << 9 | u32::from(self.code);
        let value = u64::from(word) << 32 | u64::from(data);
        value.to_be_bytes()
    }
}

impl Server {
    /// Handles an ICMP error about a datagram from a relay socket of the allocation `id`. Returns
    /// the route to the client, to which the caller sends [`Server::response`], a Data indication.
    ///
    /// # Errors
    ///
    /// The reason why the error is not reported to the client.
    pub fn handle_icmp_error(
        &mut self,
        now: Now,
        id: AllocationId,
        error: &IcmpError,
    ) -> Result<Route, DropReason> {
        if !error.is_reported() {
            return Err(DropReason::IcmpType);
        }
        if !self.policy.permits_port(error.peer) {
            return Err(DropReason::PeerDenied);
        }
        let allocation = self.table.get(id).ok_or(DropReason::NoAllocation)?;
        let ip = error.peer.ip();
        if !allocation.has_permission(ip) {
            return Err(DropReason::NoPermission);
        }
        let limit = Limit::per_second(ERRORS_PER_SECOND, ERROR_BURST);
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
