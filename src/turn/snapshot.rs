//! What a server knows, as values that can be written out, and a server that goes on with them: a
//! restart in the middle of calls.
//!
//! Times are those of the system's monotonic clock and hold until the next boot. What is not the
//! client's yet (an Allocate whose socket is being bound) is left out, and so is what was made over
//! a stream, which ends with the process that serves it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::credential::Username;
use crate::rate::Gcra;
use crate::stun::TransactionId;

use super::algorithms::{Key, LongTerm, Scheme};
use super::allocate::MAX_ENDED;
use super::allocation::{Allocation, Channel, Permission, RelayedAddress};
use super::family::Family;
use super::reservation::{Reservation, Token};
use super::{ErrorReason, Output, Route, Server, Settings};

/// What [`Server::snapshot`] gives and [`Server::restore`] takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    allocations: Vec<Held>,
    reservations: Vec<Reserved>,
    /// The last allocations that their clients ended, the latest first.
    ended: Vec<(Route, TransactionId)>,
}

/// An allocation. What follows from the username is not in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    route: Route,
    username: Box<str>,
    scheme: Scheme,
    key: LongTerm,
    transaction: TransactionId,
    granted: u32,
    since: u64,
    relays: Vec<RelayedAddress>,
    #[serde(rename = "missed")]
    unavailable: Option<(Family, ErrorReason)>,
    token: Option<Token>,
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
    to_peers: Gcra,
    to_client: Gcra,
    bytes_up: u64,
    bytes_down: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reserved {
    ends: Mono,
    token: Token,
    socket: u32,
    address: SocketAddr,
    user: Box<str>,
}

/// What the edge's id_map in a snapshot have become: what is missing is gone.
#[derive(Debug, Clone, Default)]
pub struct IdMap {
    /// Of the sockets that clients send to.
    pub via: HashMap<u32, u32>,
    /// Of relay sockets.
    pub sockets: HashMap<u32, u32>,
}

impl Snapshot {
    /// Living allocations in it.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// The id_map of the relay sockets that are needed to go on, each with the address that peers
    /// know it by, or that it is bound to where nobody knows it yet.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, SocketAddr)> {
        let relays = self.allocations.iter().flat_map(|held| &held.relays);
        let relays = relays.map(|bound| (bound.socket, bound.relayed));
        let reserved = self.reservations.iter();
        relays.chain(reserved.map(|reserved| (reserved.socket, reserved.address)))
    }
}

impl Server {
    /// What this server knows of its clients over UDP.
    pub fn snapshot(&self) -> Snapshot {
        let over_udp = |route: &Route| !route.transport.is_stream();
        let allocations = self.table.iter().filter(|one| over_udp(&one.route));
        let reservations = self.reservations.held();
        let reservations = reservations.map(|(ends, token, one)| Reserved {
            ends,
            token,
            socket: one.socket,
            address: one.address,
            user: one.permit.user().into(),
        });
        let ended = self.ended.iter().filter(|(route, _)| over_udp(route));
        Snapshot {
            allocations: allocations.filter_map(Held::of).collect(),
            reservations: reservations.collect(),
            ended: ended.copied().collect(),
        }
    }

    /// Goes on with what another server knew, as far as `id_map` has what it needs, and gives how
    /// many allocations that are. Sockets of `id_map` that nobody needs any more are ordered to be
    /// closed; the others to be adopted.
    pub fn restore(&mut self, snapshot: Snapshot, id_map: &IdMap) -> usize {
        let mut left: HashSet<u32> = id_map.sockets.values().copied().collect();
        let mut restored = 0;
        for held in snapshot.allocations {
            let Some(allocation) = held.restore(&self.settings, id_map) else {
                continue;
            };
            let sockets: Vec<u32> = allocation.sockets().collect();
            if let Some(owner) = self.table.adopt(allocation) {
                sockets.iter().for_each(|socket| _ = left.remove(socket));
                let adopt = |socket| Output::Adopt { socket, owner };
                self.output.extend(sockets.into_iter().map(adopt));
                restored += 1;
            }
        }
        for reserved in snapshot.reservations {
            let socket = id_map.sockets.get(&reserved.socket);
            if let Some(socket) = socket.and_then(|socket| left.take(socket)) {
                let permit = self.settings.quotas.restore(&reserved.user, None);
                let reservation = Reservation {
                    socket,
                    address: reserved.address,
                    permit,
                };
                self.reservations
                    .restore(reserved.ends, reserved.token, reservation);
            }
        }
        for (route, transaction) in snapshot.ended {
            if let Some(route) = renumbered(route, &id_map.via)
                && self.ended.len() < MAX_ENDED
            {
                self.ended.push_back((route, transaction));
            }
        }
        self.unbind(left);
        restored
    }
}

fn renumbered(route: Route, via: &HashMap<u32, u32>) -> Option<Route> {
    let via = *via.get(&route.via)?;
    Some(Route { via, ..route })
}

impl Held {
    fn of(allocation: &Allocation) -> Option<Held> {
        if allocation.pending_bind.is_some() {
            return None;
        }
        Some(Held {
            route: allocation.route,
            username: allocation.username.clone(),
            scheme: allocation.key.scheme,
            key: allocation.key.long_term(),
            transaction: allocation.transaction,
            granted: allocation.granted,
            since: allocation.since,
            relays: allocation.relayed_addresses().copied().collect(),
            unavailable: allocation.unavailable,
            token: allocation.token,
            permissions: allocation.permissions.to_vec(),
            channels: allocation
                .channels
                .iter()
                .map(Channel::without_hint)
                .collect(),
            to_peers: allocation.to_peers,
            to_client: allocation.to_client,
            bytes_up: allocation.bytes_up,
            bytes_down: allocation.bytes_down,
        })
    }

    /// The allocation, unless its identity is refused meanwhile, or what it was made with is gone. Of
    /// two relayed addresses the first decides: where the second is gone, the other goes on.
    fn restore(self, settings: &Settings, id_map: &IdMap) -> Option<Allocation> {
        let route = renumbered(self.route, &id_map.via)?;
        let identity = settings
            .revocations
            .resolve(Username::parse(&self.username)?);
        if route.transport.is_stream() || settings.revocations.is_revoked(&identity) {
            return None;
        }
        let user: Box<str> = identity.account(route.client.ip()).into();
        let room = identity.room.map(Box::from);
        let mut relays = [None, None];
        for (place, bound) in self.relays.iter().enumerate() {
            let socket = id_map.sockets.get(&bound.socket).copied();
            let family = Family::of(bound.relayed.ip());
            match socket {
                Some(socket) => relays[family as usize] = Some(RelayedAddress { socket, ..*bound }),
                None if place == 0 => return None,
                None => {}
            }
        }
        let bound = relays.iter().flatten();
        let expires = bound.clone().map(|bound| bound.expires).min()?;
        let second = bound.count() > 1;
        let has = |ip| relays[Family::of(ip) as usize].is_some();
        let (mut permissions, mut channels) = (self.permissions, self.channels);
        permissions.retain(|permission| has(permission.ip));
        channels.retain(|channel| has(channel.peer.ip()));
        let permit = || {
            let client = route.client.ip();
            settings.quotas.restore(&user, Some(client))
        };
        Some(Allocation {
            route,
            permit: permit(),
            second_permit: second.then(permit),
            username: self.username,
            user,
            room,
            key: Key::of(self.scheme, self.key),
            transaction: self.transaction,
            granted: self.granted,
            since: self.since,
            expires,
            relays,
            pending_bind: None,
            unavailable: self.unavailable,
            token: self.token,
            permissions: permissions.into(),
            channels: channels.into(),
            icmp_limiter: Default::default(),
            to_peers: self.to_peers,
            to_client: self.to_client,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
        })
    }
}
