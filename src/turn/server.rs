//! The server of one shard: what comes in, what goes out, and when things end.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};

use crate::clock::{Mono, Now};
use crate::config::PortRange;
use crate::credential::{Credentials, Refusals};
use crate::rate::{Limit, Sources};
use crate::stun::{CHANNEL_HEADER, ChannelData, Class, IntegrityKey, Message, Method};

use super::allocation::Relay;
use super::requests::Reply;
use super::table::Table;
use super::{
    AllocationId, Dropped, External, Nonces, Outcome, Output, Policy, Quotas, Refusal,
    RelayedAddresses, Route, Scope, Verdict,
};

/// Ports that are tried for one allocation before it is refused with 508.
pub(super) const BIND_TRIES: u8 = 16;

/// How long the edge may take to bind a socket before the allocation is given up.
pub(super) const BIND_PATIENCE: Duration = Duration::from_secs(10);

/// What a server is made with. What is shared between shards stands behind an `Arc`.
#[derive(Clone)]
pub struct Settings {
    pub realm: String,
    pub credentials: Credentials,
    pub nonces: Nonces,
    pub policy: Policy,
    pub ports: PortRange,
    pub external: Vec<External>,
    /// Where relayed addresses go whose family is not that of the address that was asked.
    pub other_family: Vec<IpAddr>,
    pub max_permissions: usize,
    pub max_channels: usize,
    /// Bytes, each way, of one allocation.
    pub bandwidth: Limit,
    pub refusals: Arc<Refusals>,
    pub quotas: Arc<Quotas>,
    pub strangers: Arc<Sources>,
    pub relayed: Arc<RelayedAddresses>,
}

/// A TURN server without sockets. See the [module](super) for how to drive it.
pub struct Server {
    pub(super) settings: Settings,
    pub(super) table: Table,
    pub(super) random: ChaCha12Rng,
    pub(super) answer: Vec<u8>,
    pub(super) output: VecDeque<Output>,
}

impl Server {
    /// `seed` is the whole of its randomness: with the same seed, time and datagrams it does the
    /// same things.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Server {
        Server {
            table: Table::new(settings.relayed.clone()),
            settings,
            random: ChaCha12Rng::from_seed(seed),
            answer: Vec::new(),
            output: VecDeque::new(),
        }
    }

    /// Takes a datagram, or one message of a stream, that a client sent.
    ///
    /// `buffer[range]` is the message; [`super::HEADROOM`] bytes before it and
    /// [`super::TAILROOM`] behind it may be overwritten.
    pub fn client(
        &mut self,
        now: Now,
        route: &Route,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        match buffer[range.clone()].first() {
            Some(0x40..=0x4f) => self.channel_data(now, route, buffer, range),
            Some(0x00..=0x3f) => self.stun(now, route, buffer, range),
            _ => Verdict::Dropped(Dropped::NotStun),
        }
    }

    /// Takes a datagram that `peer` sent to the relay socket of `id`.
    pub fn peer(
        &mut self,
        now: Now,
        id: AllocationId,
        peer: SocketAddr,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        let allowed = self.settings.policy.permits_port(peer);
        if !allowed {
            return Verdict::Dropped(Dropped::PeerDenied);
        }
        self.deliver(now, id, peer, buffer, range)
    }

    /// The answer that the last [`Verdict::Answer`] speaks of.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// The next order to the edge.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Reports what became of [`Output::Bind`]: the edge's number for the socket, or why not.
    pub fn bound(&mut self, now: Now, id: AllocationId, result: io::Result<u32>) {
        let Some(allocation) = self.table.get(id) else {
            // It was freed meanwhile.
            self.output
                .extend(result.ok().map(|socket| Output::Unbind { socket }));
            return;
        };
        let Relay::Binding { address, tries } = allocation.relay else {
            return;
        };
        match result {
            Ok(socket) => {
                let relayed = External::advertise(&self.settings.external, address);
                if self.table.set_relayed(id, socket, relayed) {
                    self.promise(now, id);
                } else {
                    self.output.push_back(Output::Unbind { socket });
                    self.retry(id, address, tries);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                self.retry(id, address, tries)
            }
            Err(_) => self.give_up(id),
        }
    }

    /// When [`Server::expire`] wants to be called.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.table.next_deadline()
    }

    /// Ends the allocations whose time has run out.
    pub fn expire(&mut self, now: Now) {
        while let Some(id) = self.table.pop_expired(now.mono) {
            self.free(id);
        }
    }

    /// Ends the allocations of `user` that `scope` names, and says how many there were.
    pub fn revoke(&mut self, user: &str, scope: &Scope) -> usize {
        let ids = self.table.matching(|allocation| {
            let bound_to = |room: &str| allocation.room.as_deref() == Some(room);
            *allocation.user == *user
                && match scope {
                    Scope::All => true,
                    Scope::Room(room) => bound_to(room),
                    Scope::RoomAndUnbound(room) => allocation.room.is_none() || bound_to(room),
                }
        });
        ids.iter().for_each(|id| self.free(*id));
        ids.len()
    }

    /// A stream ended: an allocation made over it ends with it.
    pub fn stream_closed(&mut self, route: &Route) {
        if let Some(id) = self.table.of_client(route) {
            self.free(id);
        }
    }

    /// Living allocations of this shard.
    pub fn allocations(&self) -> usize {
        self.table.len()
    }

    pub(super) fn free(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.remove(id) else {
            return;
        };
        if let Relay::Bound { socket, .. } = allocation.relay {
            self.output.push_back(Output::Unbind { socket });
        }
    }

    /// A port of the range by the shard's own random generator (RFC 8656 section 7.2: not to be
    /// guessed), free as far as this shard knows.
    pub(super) fn relay_address(&mut self, ip: IpAddr) -> SocketAddr {
        let PortRange { first, last } = self.settings.ports;
        let mut address = SocketAddr::new(ip, first);
        for _ in 0..BIND_TRIES {
            address.set_port(self.random.random_range(first..=last));
            let relayed = External::advertise(&self.settings.external, address);
            if !self.table.is_relayed(relayed) && !self.settings.policy.is_listener(address) {
                break;
            }
        }
        address
    }

    fn retry(&mut self, id: AllocationId, failed: SocketAddr, tries: u8) {
        let address = self.relay_address(failed.ip());
        match (self.table.get(id), tries.checked_sub(1)) {
            (Some(allocation), Some(tries)) => {
                allocation.relay = Relay::Binding { address, tries };
                self.output.push_back(Output::Bind { id, address });
            }
            _ => self.give_up(id),
        }
    }

    /// Answers the Allocate whose socket now exists.
    fn promise(&mut self, now: Now, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let route = allocation.route;
        let expires = now.mono + Duration::from_secs(u64::from(allocation.granted));
        let mut bytes = Vec::with_capacity(128);
        Reply::allocated(allocation, &mut bytes);
        self.table.set_expiry(id, expires);
        self.output.push_back(Output::Answer {
            route,
            bytes,
            outcome: Outcome::Granted(Method::ALLOCATE),
        });
    }

    fn give_up(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.remove(id) else {
            return;
        };
        let mut bytes = Vec::with_capacity(128);
        Reply::new(Method::ALLOCATE, allocation.transaction).error(
            &mut bytes,
            Refusal::NoPort,
            Some(&allocation.key),
        );
        self.output.push_back(Output::Answer {
            route: allocation.route,
            bytes,
            outcome: Outcome::Refused(Method::ALLOCATE, Refusal::NoPort),
        });
    }

    fn channel_data(
        &mut self,
        now: Now,
        route: &Route,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        let Some(data) = ChannelData::parse(&buffer[range.clone()]) else {
            return Verdict::Dropped(Dropped::Malformed);
        };
        let start = range.start + CHANNEL_HEADER;
        self.on_channel(now, route, data.number, buffer, start..start + data.len)
    }

    fn stun(&mut self, now: Now, route: &Route, buffer: &mut [u8], range: Range<usize>) -> Verdict {
        let message = match Message::parse(&buffer[range.clone()]) {
            Ok(message) => message,
            Err(_) => return Verdict::Dropped(Dropped::Malformed),
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => match Server::send_indication(&message) {
                Some((peer, data)) => {
                    let start = range.start + data.start;
                    let payload = start..start + data.len();
                    self.on_send(now, route, peer, buffer, payload)
                }
                None => Verdict::Dropped(Dropped::Malformed),
            },
            (Class::Request, Method::BINDING) => self.binding(now, route, &message),
            (Class::Request, method) if Server::serves(method) => {
                self.request(now, route, &message)
            }
            _ => Verdict::Dropped(Dropped::NotForServer),
        }
    }

    /// Whether an answer to somebody who has proved nothing may leave.
    pub(super) fn may_answer_stranger(&self, now: Now, route: &Route) -> bool {
        self.settings.strangers.take(route.client.ip(), now.mono)
    }

    /// Refuses a request, in [`Server::answer`].
    pub(super) fn refuse(
        &mut self,
        now: Now,
        route: &Route,
        message: &Message<'_>,
        refusal: Refusal,
        key: Option<&IntegrityKey>,
    ) -> Verdict {
        if key.is_none() && !self.may_answer_stranger(now, route) {
            return Verdict::Dropped(Dropped::StrangerRate);
        }
        let reply = Reply::new(message.method(), message.transaction());
        self.answer.clear();
        match refusal.on_the_wire().0 {
            401 | 438 => {
                let nonce = self.settings.nonces.make(route.client, now.unix);
                reply.challenge(&mut self.answer, refusal, &self.settings.realm, &nonce);
            }
            420 => reply.unknown_attributes(&mut self.answer, message, key),
            _ => reply.error(&mut self.answer, refusal, key),
        }
        Verdict::Answer(Outcome::Refused(message.method(), refusal))
    }
}
