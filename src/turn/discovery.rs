//! The endpoints of NAT behaviour discovery (RFC 5780).

use std::net::SocketAddr;

use crate::stun::{Attribute, Message};

use super::{ErrorReason, NatMapping, Route, Transport};

/// The bits of CHANGE-REQUEST (RFC 5780 section 7.2).
const CHANGE_IP: u8 = 0x04;
const CHANGE_PORT: u8 = 0x02;

/// Index differences within a set of endpoints: to the one with the other port, and to the one with
/// the other IP address.
const OTHER_PORT: usize = 1;
const OTHER_IP: usize = 2;

/// Sets of four endpoints: two addresses with the same two ports each (RFC 5780 section 6). Without
/// a set there is no discovery.
#[derive(Debug, Clone, Default)]
pub struct Discovery(Vec<[Endpoint; 4]>);

/// One of the four sockets of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// The public address of `address` behind NAT.
    pub public: SocketAddr,
    /// The caller's number for the socket.
    pub via: u32,
}

/// The endpoints that a Binding response names.
pub(super) struct Discovered<'a> {
    /// The endpoint that sends the response.
    pub origin: &'a Endpoint,
    /// The endpoint with the other address and the other port.
    pub other: &'a Endpoint,
}

impl Discovery {
    /// Creates the endpoints: at most one set for each address family. A set contains the first
    /// address with its first and second port, then the second address with the same ports. The
    /// second port serves Binding requests only.
    pub fn new(sets: Vec<[Endpoint; 4]>) -> Discovery {
        Discovery(sets)
    }

    /// Returns whether CHANGE-REQUEST is supported in a request of this client: the set of its
    /// endpoint must have two public addresses.
    pub(super) fn is_supported(&self, route: &Route) -> bool {
        self.find(route).is_some_and(|(set, _)| is_complete(set))
    }

    /// Returns the endpoints for a response to a Binding request; `None` if discovery is not
    /// supported.
    ///
    /// # Errors
    ///
    /// CHANGE-REQUEST has a wrong length.
    pub(super) fn respond_from(
        &self,
        route: &Route,
        message: &Message<'_>,
    ) -> Result<Option<Discovered<'_>>, ErrorReason> {
        let found = self.find(route).filter(|(set, _)| is_complete(set));
        let Some((set, received_at)) = found else {
            return Ok(None);
        };
        let change = match message.get(Attribute::CHANGE_REQUEST) {
            None => 0,
            Some([_, _, _, flags]) => *flags,
            Some(_) => return Err(ErrorReason::BadRequest),
        };
        let mut origin = received_at;
        if change & CHANGE_IP != 0 {
            origin ^= OTHER_IP;
        }
        if change & CHANGE_PORT != 0 {
            origin ^= OTHER_PORT;
        }
        Ok(Some(Discovered {
            origin: &set[origin],
            other: &set[received_at ^ OTHER_IP ^ OTHER_PORT],
        }))
    }

    /// Updates the public addresses of all endpoints.
    pub(super) fn set_public_addresses(&mut self, nat_mappings: &[NatMapping]) {
        for endpoint in self.0.iter_mut().flatten() {
            endpoint.public = NatMapping::public_address(nat_mappings, endpoint.address);
        }
    }

    /// Returns whether the endpoint of this client has the second port, which serves Binding
    /// requests only.
    pub(super) fn is_binding_only(&self, route: &Route) -> bool {
        self.find(route)
            .is_some_and(|(_, index)| index & OTHER_PORT != 0)
    }

    /// Returns the set and the index of the endpoint that received a request. A stream cannot be
    /// answered from another endpoint.
    fn find(&self, route: &Route) -> Option<(&[Endpoint; 4], usize)> {
        if route.transport != Transport::Udp {
            return None;
        }
        self.0.iter().find_map(|set| {
            let mut endpoints = set.iter();
            let index = endpoints.position(|endpoint| endpoint.address == route.server)?;
            Some((set, index))
        })
    }
}

fn is_complete(set: &[Endpoint; 4]) -> bool {
    set[0].public.ip() != set[OTHER_IP].public.ip()
}
