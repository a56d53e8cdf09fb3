//! The state of a server as a serializable value, and its restoration in another process: a restart
//! during calls.
//!
//! Times are those of the system's monotonic clock, valid until the next boot. A snapshot omits
//! allocations whose socket is still being bound, and allocations over a stream, which ends with
//! its process. The serialized names are part of the hand-over format: renamed fields keep them.

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
use super::recent_peers::Peer;
use super::reservation::{Reservation, Token};
use super::settings::Config;
use super::{ErrorReason, Output, Route, Server};

/// The result of [`Server::snapshot`], for [`Server::restore`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    allocations: Vec<AllocationState>,
    reservations: Vec<ReservationState>,
    /// The most recent allocations that a Refresh ended, the latest first.
    ended: Vec<(Route, TransactionId)>,
}

/// An allocation. The account and the room are not included: they follow from the username.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllocationState {
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

/// A reserved port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservationState {
    ends: Mono,
    token: Token,
    socket: u32,
    address: SocketAddr,
    user: Box<str>,
}

/// The caller's new numbers for the numbers in a snapshot. A number without an entry has no socket
/// any more.
#[derive(Debug, Clone, Default)]
pub struct IdMap {
    /// Numbers of the sockets that clients send to.
    pub via: HashMap<u32, u32>,
    /// Numbers of relay sockets.
    pub sockets: HashMap<u32, u32>,
}

impl Snapshot {
    /// Returns the number of allocations.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Returns the numbers of the relay sockets, each with its relayed address; for a reserved
    /// port, with its local address.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, SocketAddr)> {
        let relays = self.allocations.iter().flat_map(|state| &state.relays);
        let relays = relays.map(|address| (address.socket, address.relayed));
        let reserved = self.reservations.iter();
        relays.chain(reserved.map(|reserved| (reserved.socket, reserved.address)))
    }
}

impl Server {
    /// Returns the state of all clients over UDP.
    pub fn snapshot(&self) -> Snapshot {
        let over_udp = |route: &Route| !route.transport.is_stream();
        let allocations = self.table.iter().filter(|one| over_udp(&one.route));
        let reservations = self.reservations.iter();
        let reservations = reservations.map(|(ends, token, one)| ReservationState {
            ends,
            token,
            socket: one.socket,
            address: one.address,
            user: one.permit.user().into(),
        });
        let ended = self.ended.iter().filter(|(route, _)| over_udp(route));
        Snapshot {
            allocations: allocations.filter_map(AllocationState::of).collect(),
            reservations: reservations.collect(),
            ended: ended.copied().collect(),
        }
    }

    /// Restores the state of another server, as far as `id_map` has its sockets. Returns the number
    /// of restored allocations. Queues commands to adopt the sockets, and to close those of
    /// `id_map` that are not needed any more.
    pub fn restore(&mut self, snapshot: Snapshot, id_map: &IdMap) -> usize {
        let mut unused: HashSet<u32> = id_map.sockets.values().copied().collect();
        let mut restored = 0;
        for state in snapshot.allocations {
            let Some(allocation) = state.restore(&self.config, id_map) else {
                continue;
            };
            let sockets: Vec<u32> = allocation.sockets().collect();
            if let Some(owner) = self.table.adopt(allocation) {
                for socket in sockets {
                    unused.remove(&socket);
                    self.output.push_back(Output::Adopt { socket, owner });
                }
                restored += 1;
            }
        }
        for reserved in snapshot.reservations {
            let socket = id_map.sockets.get(&reserved.socket);
            if let Some(socket) = socket.and_then(|socket| unused.take(socket)) {
                let permit = self.config.quotas.restore(&reserved.user, None);
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
        self.unbind(unused);
        restored
    }
}

/// Returns the route with the caller's new number for its socket.
fn renumbered(route: Route, via: &HashMap<u32, u32>) -> Option<Route> {
    let via = *via.get(&route.via)?;
    Some(Route { via, ..route })
}

impl AllocationState {
    fn of(allocation: &Allocation) -> Option<AllocationState> {
        if allocation.pending_bind.is_some() {
            return None;
        }
        Some(AllocationState {
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
            permissions: allocation
                .permissions
                .iter()
                .map(Permission::without_last_port)
                .collect(),
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

    /// Returns the allocation. Returns `None` if its owner is revoked, or the first relay socket
    /// does not exist any more. An allocation can lose the second of two relay sockets.
    fn restore(self, config: &Config, id_map: &IdMap) -> Option<Allocation> {
        let route = renumbered(self.route, &id_map.via)?;
        let subject = config.revocations.resolve(Username::parse(&self.username)?);
        if route.transport.is_stream() || config.revocations.is_revoked(&subject) {
            return None;
        }
        let user: Box<str> = subject.account(route.client.ip()).into();
        let room = subject.room.map(Box::from);
        let is_restricted = config.settings.traffic.is_restricted(subject.room);
        let room_key = config.directory.room_key(subject.room);
        let mut relays = [None, None];
        for (index, address) in self.relays.iter().enumerate() {
            let socket = id_map.sockets.get(&address.socket).copied();
            let family = Family::of(address.relayed.ip());
            match socket {
                Some(socket) => {
                    relays[family as usize] = Some(RelayedAddress { socket, ..*address });
                }
                None if index == 0 => return None,
                None => {}
            }
        }
        let addresses = relays.iter().flatten();
        let expires = addresses.clone().map(|address| address.expires).min()?;
        let has_second = addresses.count() > 1;
        let has = |ip| relays[Family::of(ip) as usize].is_some();
        let (mut permissions, mut channels) = (self.permissions, self.channels);
        permissions.retain(|permission| has(permission.ip));
        channels.retain(|channel| has(channel.peer.ip()));
        let permit = || {
            let client = route.client.ip();
            config.quotas.restore(&user, Some(client))
        };
        let first_permit = permit();
        let peers = &first_permit.usage.peers;
        for permission in &permissions {
            peers.restore(Peer::of_permission(permission.ip), permission.expires);
        }
        for channel in &channels {
            peers.restore(channel.peer.into(), channel.expires);
        }
        Some(Allocation {
            route,
            permit: first_permit,
            second_permit: has_second.then(permit),
            username: self.username,
            user,
            room,
            room_key,
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
            icmp_limiter: Gcra::default(),
            to_peers: self.to_peers,
            to_client: self.to_client,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            monitor: None,
            is_restricted,
        })
    }
}
