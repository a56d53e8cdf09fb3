//! NAT behaviour discovery (RFC 5780): Binding answers from another address, another port, or both.

use std::net::SocketAddr;

use crate::stun::{Attribute, Class, Method, Writer};

use super::fields::unknown;
use super::requests::Request;
use super::{Dropped, External, Outcome, Output, Refusal, Route, Server, Transport, Verdict};

/// The bits of CHANGE-REQUEST (section 7.2).
const CHANGE_IP: u8 = 0x04;
const CHANGE_PORT: u8 = 0x02;

/// What leads from a place to the one with the other port, and to the one with the other address.
const OTHER_PORT: usize = 1;
const OTHER_IP: usize = 2;

/// Two addresses with the same two ports on each (section 6). Empty: no discovery.
#[derive(Debug, Clone, Default)]
pub struct Discovery(Vec<[Place; 4]>);

/// One of four sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub address: SocketAddr,
    /// What it is called outside.
    pub outside: SocketAddr,
    /// The edge's number of it.
    pub via: u32,
}

impl Discovery {
    /// One square for each family at most: the first address with its first and its second port,
    /// then the second address with the same. No allocation is made on the second port.
    pub fn new(squares: Vec<[Place; 4]>) -> Discovery {
        Discovery(squares)
    }

    /// Where a request came in: its square, and the place in there. Streams can't be answered from
    /// elsewhere.
    fn place(&self, route: &Route) -> Option<(&[Place; 4], usize)> {
        if route.transport != Transport::Udp {
            return None;
        }
        self.0.iter().find_map(|square| {
            let mut places = square.iter();
            let index = places.position(|place| place.address == route.server)?;
            Some((square, index))
        })
    }

    /// Like [`Discovery::place`], but only if discovery is possible: it needs two public addresses.
    fn place_of_two(&self, route: &Route) -> Option<(&[Place; 4], usize)> {
        let found = self.place(route);
        found.filter(|(square, _)| square[0].outside.ip() != square[OTHER_IP].outside.ip())
    }

    /// Sets the public addresses.
    pub(super) fn rename(&mut self, external: &[External]) {
        for place in self.0.iter_mut().flatten() {
            place.outside = External::advertise(external, place.address);
        }
    }

    /// Whether a place is there for Binding alone.
    pub(super) fn is_second_port(&self, route: &Route) -> bool {
        self.place(route)
            .is_some_and(|(_, index)| index & OTHER_PORT != 0)
    }
}

impl Server {
    /// The attributes that have to be understood and are not. CHANGE-REQUEST is, where there is
    /// another place to answer from.
    pub(super) fn not_understood<'a>(
        &self,
        request: Request<'a>,
    ) -> impl Iterator<Item = Attribute> + use<'a> {
        let Request { message, route, .. } = request;
        let discovers = message.method() == Method::BINDING
            && self.settings.discovery.place_of_two(route).is_some();
        let dont_fragment = self.settings.dont_fragment;
        unknown(message).filter(move |attribute| match *attribute {
            Attribute::CHANGE_REQUEST => !discovers,
            Attribute::DONT_FRAGMENT => !dont_fragment,
            _ => true,
        })
    }

    /// The answer to a Binding request where there is another place (section 6.1); `None` where
    /// there is none.
    pub(super) fn discover(&mut self, request: Request<'_>) -> Option<Verdict> {
        let (square, came_to) = self.settings.discovery.place_of_two(request.route)?;
        let flags = match request.message.get(Attribute::CHANGE_REQUEST) {
            None => 0,
            Some([_, _, _, flags]) => *flags,
            Some(_) => return Some(self.refuse(request, Refusal::BadRequest, None)),
        };
        let changed = |flag, other| if flags & flag != 0 { other } else { 0 };
        let leaves = came_to ^ changed(CHANGE_IP, OTHER_IP) ^ changed(CHANGE_PORT, OTHER_PORT);
        let (origin, other) = (square[leaves], square[came_to ^ OTHER_IP ^ OTHER_PORT]);
        if !self.may_answer_stranger(request) {
            return Some(Verdict::Dropped(Dropped::StrangerRate));
        }
        let client = request.route.client;
        let transaction = request.message.transaction();
        self.answer.clear();
        Writer::new(
            &mut self.answer,
            Method::BINDING,
            Class::Success,
            transaction,
        )
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, client)
        .address(Attribute::MAPPED_ADDRESS, client)
        .address(Attribute::RESPONSE_ORIGIN, origin.outside)
        .address(Attribute::OTHER_ADDRESS, other.outside)
        .fingerprint();
        let outcome = Outcome::Granted(Method::BINDING);
        if leaves == came_to {
            return Some(Verdict::Answer(outcome));
        }
        let route = Route {
            server: origin.address,
            via: origin.via,
            ..*request.route
        };
        self.output.push_back(Output::Answer {
            route,
            bytes: self.answer.clone(),
            outcome,
        });
        Some(Verdict::Queued)
    }
}
