//! NAT behaviour discovery (RFC 5780): Binding responses from another address, another port, or both.

use std::net::SocketAddr;

use crate::stun::{Attribute, Class, Method, Writer};

use super::attributes::unknown;
use super::requests::Request;
use super::{
    DropReason, ErrorReason, NatMapping, Outcome, Output, Route, Server, Transport, Verdict,
};

/// The bits of CHANGE-REQUEST (section 7.2).
const CHANGE_IP: u8 = 0x04;
const CHANGE_PORT: u8 = 0x02;

/// What leads from a endpoint to the one with the other port, and to the one with the other address.
const OTHER_PORT: usize = 1;
const OTHER_IP: usize = 2;

/// Two addresses with the same two ports on each (section 6). Empty: no discovery.
#[derive(Debug, Clone, Default)]
pub struct Discovery(Vec<[Endpoint; 4]>);

/// One of four sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// What it is called public.
    pub public: SocketAddr,
    /// The edge's number of it.
    pub via: u32,
}

impl Discovery {
    /// One grid for each family at most: the first address with its first and its second port,
    /// then the second address with the same. No allocation is made on the second port.
    pub fn new(grids: Vec<[Endpoint; 4]>) -> Discovery {
        Discovery(grids)
    }

    /// Where a request came in: its grid, and the endpoint in there. Streams can't be answered from
    /// elsewhere.
    fn endpoint(&self, route: &Route) -> Option<(&[Endpoint; 4], usize)> {
        if route.transport != Transport::Udp {
            return None;
        }
        self.0.iter().find_map(|grid| {
            let mut endpoints = grid.iter();
            let index = endpoints.position(|endpoint| endpoint.address == route.server)?;
            Some((grid, index))
        })
    }

    /// Like [`Discovery::endpoint`], but only if discovery is possible: it needs two public addresses.
    fn endpoint_of_two(&self, route: &Route) -> Option<(&[Endpoint; 4], usize)> {
        let found = self.endpoint(route);
        found.filter(|(grid, _)| grid[0].public.ip() != grid[OTHER_IP].public.ip())
    }

    /// Sets the public addresses.
    pub(super) fn set_public_addresses(&mut self, nat_mappings: &[NatMapping]) {
        for endpoint in self.0.iter_mut().flatten() {
            endpoint.public = NatMapping::public_address(nat_mappings, endpoint.address);
        }
    }

    /// Whether a endpoint is there for Binding alone.
    pub(super) fn is_binding_only(&self, route: &Route) -> bool {
        self.endpoint(route)
            .is_some_and(|(_, index)| index & OTHER_PORT != 0)
    }
}

impl Server {
    /// The attributes that have to be understood and are not. CHANGE-REQUEST is, where there is
    /// another endpoint to response from.
    pub(super) fn unknown_attributes<'a>(
        &self,
        request: Request<'a>,
    ) -> impl Iterator<Item = Attribute> + use<'a> {
        let Request { message, route, .. } = request;
        let discovers = message.method() == Method::BINDING
            && self.settings.discovery.endpoint_of_two(route).is_some();
        let dont_fragment = self.settings.dont_fragment;
        unknown(message).filter(move |attribute| match *attribute {
            Attribute::CHANGE_REQUEST => !discovers,
            Attribute::DONT_FRAGMENT => !dont_fragment,
            _ => true,
        })
    }

    /// The response to a Binding request where there is another endpoint (section 6.1); `None` where
    /// there is none.
    pub(super) fn discover(&mut self, request: Request<'_>) -> Option<Verdict> {
        let (grid, received_at) = self.settings.discovery.endpoint_of_two(request.route)?;
        let flags = match request.message.get(Attribute::CHANGE_REQUEST) {
            None => 0,
            Some([_, _, _, flags]) => *flags,
            Some(_) => return Some(self.respond_error(request, ErrorReason::BadRequest, None)),
        };
        let changed = |flag, other| if flags & flag != 0 { other } else { 0 };
        let respond_from =
            received_at ^ changed(CHANGE_IP, OTHER_IP) ^ changed(CHANGE_PORT, OTHER_PORT);
        let (origin, other) = (
            grid[respond_from],
            grid[received_at ^ OTHER_IP ^ OTHER_PORT],
        );
        if !self.allow_unauthenticated(request) {
            return Some(Verdict::Dropped(DropReason::UnauthenticatedRate));
        }
        let client = request.route.client;
        let transaction = request.message.transaction();
        self.response.clear();
        Writer::new(
            &mut self.response,
            Method::BINDING,
            Class::Success,
            transaction,
        )
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, client)
        .address(Attribute::MAPPED_ADDRESS, client)
        .address(Attribute::RESPONSE_ORIGIN, origin.public)
        .address(Attribute::OTHER_ADDRESS, other.public)
        .fingerprint();
        let outcome = Outcome::Granted(Method::BINDING);
        if respond_from == received_at {
            return Some(Verdict::Respond(outcome));
        }
        let route = Route {
            server: origin.address,
            via: origin.via,
            ..*request.route
        };
        self.output.push_back(Output::Response {
            route,
            bytes: self.response.clone(),
            outcome,
        });
        Some(Verdict::Queued)
    }
}
