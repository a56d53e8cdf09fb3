//! The server of one shard: what comes in, what goes out, and when things end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use rand::{SeedableRng, rngs::ChaCha12Rng};

use crate::clock::{Mono, Now};
use crate::credential::{Credentials, Revocations, belongs_to};
use crate::net::PortRange;
use crate::rate::{Limit, PerIpLimiter};
use crate::stun::{CHANNEL_HEADER, ChannelData, Class, Message, Method, TransactionId};

use super::addresses::Transient;
use super::allocation::Allocation;
use super::family::Family;
use super::lease::Lease;
use super::ports::RelayPorts;
use super::requests::Request;
use super::reservation::Reservations;
use super::table::Table;
use super::{
    AllocationId, Alternates, Directory, Discovery, DropReason, Host, Nonces, Output, Policy,
    Quotas, Route, Scope, ShardId, Verdict,
};

/// What a server is made with. What is shared between shards stands behind an `Arc`.
#[derive(Clone)]
pub struct Settings {
    pub realm: String,
    pub credentials: Credentials,
    pub nonces: Nonces,
    pub policy: Policy,
    pub ports: PortRange,
    pub host: Arc<Host>,
    pub max_permissions: usize,
    pub max_channels: usize,
    /// Bytes, each way, of one allocation.
    pub bandwidth: Limit,
    /// Bytes, each way, of all allocations of one user.
    pub user_bandwidth: Limit,
    /// Bytes of all allocations, in each direction.
    pub total_bandwidth: Limit,
    /// Whether the edge can have a datagram to a peer dropped rather than cut into fragments.
    pub dont_fragment: bool,
    /// Whether a credential that names no user may allocate.
    pub allow_unnamed: bool,
    pub revocations: Arc<Revocations>,
    pub quotas: Arc<Quotas>,
    pub unauthenticated: Arc<PerIpLimiter>,
    pub alternates: Alternates,
    pub discovery: Discovery,
    pub directory: Arc<Directory>,
}

/// A TURN server without sockets. See the [module](super) for how to drive it.
pub struct Server {
    pub(super) settings: Settings,
    pub(super) shard: ShardId,
    pub(super) table: Table,
    pub(super) reservations: Reservations,
    /// The last allocations that their clients ended, and by which transaction.
    pub(super) ended: VecDeque<(Route, TransactionId)>,
    pub(super) ports: RelayPorts,
    pub(super) transient: Transient,
    pub(super) random: ChaCha12Rng,
    pub(super) response: Vec<u8>,
    pub(super) output: VecDeque<Output>,
    /// Total bandwidth, towards peers and towards clients.
    pub(super) leases: [Lease; 2],
}

impl Server {
    /// The server of one of the shards of `settings.directory`. `seed` is the whole of its
    /// randomness: with the same seed, time and datagrams it does the same things.
    pub fn new(settings: Settings, shard: ShardId, seed: [u8; 32]) -> Server {
        Server {
            table: Table::new(shard, settings.directory.clone()),
            shard,
            reservations: Reservations::default(),
            ended: VecDeque::new(),
            ports: RelayPorts::new(settings.ports, &settings.directory, shard),
            transient: Transient::default(),
            settings,
            random: ChaCha12Rng::from_seed(seed),
            response: Vec::new(),
            output: VecDeque::new(),
            leases: Default::default(),
        }
    }

    /// Takes a datagram, or one message of a stream, that a client sent.
    ///
    /// `buffer[range]` is the message; [`super::HEADROOM`] bytes before it and
    /// [`super::TAILROOM`] behind it may be overwritten.
    pub fn handle_client_datagram(
        &mut self,
        now: Now,
        route: &Route,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        match buffer[range.clone()].first() {
            Some(0x40..=0x4f) => self.channel_data(now, route, buffer, range),
            Some(0x00..=0x3f) => self.stun(now, route, buffer, range),
            _ => Verdict::Dropped(DropReason::NotStun),
        }
    }

    /// Takes a datagram that `peer` sent to the relay socket of `id`.
    pub fn handle_peer_datagram(
        &mut self,
        now: Now,
        id: AllocationId,
        peer: SocketAddr,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        let policy = &self.settings.policy;
        if !policy.permits_port(peer) {
            return Verdict::Dropped(match policy.is_denied_port(peer) {
                true => DropReason::PeerPortDenied,
                false => DropReason::PeerDenied,
            });
        }
        self.relay_to_client(now, id, peer, buffer, range)
    }

    /// Takes application data that another shard's client sent from its relayed address `from` to
    /// `to`, a relayed address of this shard.
    pub fn handle_shard_datagram(
        &mut self,
        now: Now,
        from: SocketAddr,
        to: SocketAddr,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        match self.table.find_by_relayed(to) {
            Some(id) => self.relay_to_client(now, id, from, buffer, range),
            None => Verdict::Dropped(DropReason::NoRelay),
        }
    }

    /// The response that the last [`Verdict::Respond`] speaks of.
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    /// The next order to the edge.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`Server::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Mono> {
        let reserved = self.reservations.next_deadline();
        let next = self.table.next_deadline().into_iter().chain(reserved).min();
        match self.transient.is_any_missing() {
            true => next.into_iter().chain(self.transient.next_deadline()).min(),
            false => next,
        }
    }

    /// Ends the allocations whose time has run out, and of two addresses the one whose time has.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.transient.is_any_missing() {
            self.end_on_missing_addresses(now);
        }
        while let Some(id) = self.table.pop_expired(now.mono) {
            let allocation = self.table.get(id);
            let over = allocation.and_then(|a| a.expired_family(now.mono));
            self.end(id, over);
        }
        while let Some(reservation) = self.reservations.pop_expired(now.mono) {
            let socket = reservation.socket;
            self.output.push_back(Output::Unbind { socket });
        }
    }

    /// Ends the allocations of `user` that `scope` names, and says how many there were. Ports that
    /// the user has reserved are freed as well. Names that begin with the user and a `/` belong to the
    /// user, too.
    pub fn revoke(&mut self, user: &str, scope: &Scope) -> usize {
        let ids = self.table.matching(|allocation| {
            let bound_to = |room: &str| allocation.room.as_deref() == Some(room);
            belongs_to(&allocation.user, user)
                && match scope {
                    Scope::All => true,
                    Scope::Room(room) => bound_to(room),
                    Scope::RoomAndUnbound(room) => allocation.room.is_none() || bound_to(room),
                }
        });
        ids.iter().for_each(|id| self.free(*id));
        let reserved = self.reservations.free(user);
        let unbind = reserved.map(|socket| Output::Unbind { socket });
        self.output.extend(unbind);
        ids.len()
    }

    /// Ends every allocation that is bound to `room`, and says how many there were.
    pub fn close_room(&mut self, room: &str) -> usize {
        let bound = |allocation: &Allocation| allocation.room.as_deref() == Some(room);
        let ids = self.table.matching(bound);
        ids.iter().for_each(|id| self.free(*id));
        ids.len()
    }

    /// A stream began: what an earlier one with the same five-tuple left behind ends.
    pub fn stream_opened(&mut self, route: &Route) {
        if let Some(id) = self.table.find_by_client(route) {
            self.free(id);
        }
    }

    /// A stream ended: an allocation made over it ends with it. One that a later stream with the
    /// same five-tuple has made does not.
    pub fn stream_closed(&mut self, route: &Route) {
        let Some(id) = self.table.find_by_client(route) else {
            return;
        };
        let over = self.table.get(id).map(|allocation| allocation.route.via);
        if over == Some(route.via) {
            self.free(id);
        }
    }

    /// What permissions are granted by.
    pub fn policy(&self) -> &Policy {
        &self.settings.policy
    }

    /// Whether a relayed address with this port would be of this shard.
    pub fn has_port(&self, port: u16) -> bool {
        self.settings.directory.shard_of_port(port) == self.shard
    }

    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Living allocations of this shard.
    pub fn allocations(&self) -> usize {
        self.table.len()
    }

    /// Ends an allocation, or what it has of one family where that is not all.
    pub(super) fn end(&mut self, id: AllocationId, family: Option<Family>) {
        let allocation = self.table.get(id);
        let has_both = allocation.is_some_and(|a| a.relayed_addresses().count() > 1);
        match family {
            Some(family) if has_both => {
                let lost = self.table.remove_relayed_address(id, family);
                let unbind = lost.map(|bound| Output::Unbind {
                    socket: bound.socket,
                });
                self.output.extend(unbind);
            }
            _ => self.free(id),
        }
    }

    pub(super) fn free(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.remove(id) else {
            return;
        };
        if let Some(session) = allocation.session() {
            self.output.push_back(Output::Ended(Box::new(session)));
        }
        self.unbind(allocation.sockets());
    }

    fn channel_data(
        &mut self,
        now: Now,
        route: &Route,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        let Some(data) = ChannelData::parse(&buffer[range.clone()]) else {
            return Verdict::Dropped(DropReason::Malformed);
        };
        let start = range.start + CHANNEL_HEADER;
        self.relay_channel_data(now, route, data.number, buffer, start..start + data.len)
    }

    fn stun(&mut self, now: Now, route: &Route, buffer: &mut [u8], range: Range<usize>) -> Verdict {
        let message = match Message::parse(&buffer[range.clone()]) {
            Ok(message) => message,
            Err(_) => return Verdict::Dropped(DropReason::Malformed),
        };
        let request = Request {
            now,
            route,
            message: &message,
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => match self.send_indication(&message) {
                Some(sent) => {
                    let start = range.start + sent.data.start;
                    let payload = start..start + sent.data.len();
                    self.relay_send_indication(now, route, &sent, buffer, payload)
                }
                None => Verdict::Dropped(DropReason::Malformed),
            },
            (Class::Request, Method::BINDING) => self.binding(request),
            (Class::Request, method)
                if Server::serves(method) && !self.settings.discovery.is_binding_only(route) =>
            {
                match self.other_shard_for(request) {
                    Some(shard) => Verdict::Redirect { shard },
                    None => self.request(request),
                }
            }
            _ => Verdict::Dropped(DropReason::NotForServer),
        }
    }
}
