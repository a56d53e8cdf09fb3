//! The server of one shard: its state, its timers and its outputs.

use std::collections::VecDeque;

use rand::{SeedableRng, rngs::ChaCha12Rng};

use crate::clock::{Mono, Now};
use crate::credential::{RevokedGenerations, Username, belongs_to};
use crate::stun::TransactionId;

use super::allocation::Allocation;
use super::allocation_table::{AllocationTable, Due};
use super::bandwidth::Lease;
use super::extra_addresses::ExtraAddresses;
use super::family::Family;
use super::ports::RelayPorts;
use super::quality::PathEvent;
use super::reservation::Reservations;
use super::settings::Config;
use super::{AllocationId, Output, Policy, Route, Scope, ShardId};

/// A TURN server without sockets. The [module](super) explains how to drive it.
pub struct Server {
    pub(super) config: Config,
    pub(super) policy: Policy,
    pub(super) shard: ShardId,
    pub(super) table: AllocationTable,
    pub(super) reservations: Reservations,
    /// The most recent allocations that a Refresh ended, with the transaction of the Refresh.
    pub(super) ended: VecDeque<(Route, TransactionId)>,
    pub(super) ports: RelayPorts,
    pub(super) extra_addresses: ExtraAddresses,
    pub(super) random: ChaCha12Rng,
    pub(super) response: Vec<u8>,
    pub(super) output: VecDeque<Output>,
    /// Changes of paths that packets have caused, for [`Server::poll_output`].
    pub(super) path_events: Vec<(AllocationId, PathEvent)>,
    /// When the client of data from an unknown port may be searched next.
    pub(super) next_search: Mono,
    /// Leases of the total bandwidth, by [`Direction`](super::bandwidth::Direction).
    pub(super) leases: [Lease; 2],
}

impl Server {
    /// Creates the server of one of the shards of `config.directory`.
    ///
    /// `seed` is its only source of randomness: the same seed, times and inputs give the same
    /// outputs.
    pub fn new(config: Config, shard: ShardId, seed: [u8; 32]) -> Server {
        Server {
            policy: config.policy(),
            shard,
            table: AllocationTable::new(shard, config.directory.clone()),
            reservations: Reservations::default(),
            ended: VecDeque::new(),
            ports: RelayPorts::new(config.ports, &config.directory, shard),
            extra_addresses: ExtraAddresses::default(),
            config,
            random: ChaCha12Rng::from_seed(seed),
            response: Vec::new(),
            output: VecDeque::new(),
            path_events: Vec::new(),
            next_search: Mono::default(),
            leases: Default::default(),
        }
    }

    /// Returns the response of the last [`Verdict::Respond`](super::Verdict::Respond), or the Data
    /// indication of the last [`Server::handle_icmp_error`].
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    /// Returns the next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        if !self.path_events.is_empty() {
            self.handle_path_events();
        }
        self.output.pop_front()
    }

    /// Returns when to call [`Server::handle_timeout`]; `None` if nothing can expire.
    pub fn next_deadline(&self) -> Option<Mono> {
        let reserved = self.reservations.next_deadline();
        let next = self.table.next_deadline().into_iter().chain(reserved).min();
        if self.extra_addresses.is_any_missing() {
            next.into_iter()
                .chain(self.extra_addresses.next_deadline())
                .min()
        } else {
            next
        }
    }

    /// Ends what has expired: permissions, channels, relayed addresses, allocations and
    /// reservations, and allocations on addresses that this host lost. Reports clients whose path
    /// has died.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.extra_addresses.is_any_missing() {
            self.end_on_missing_addresses(now);
        }
        while let Some(due) = self.table.pop_due(now.mono) {
            match due {
                Due::Expired(id) => {
                    let allocation = self.table.get(id);
                    let family = allocation.and_then(|a| a.expired_family(now.mono));
                    self.end(id, family);
                }
                Due::PathLost(id) => self.report_path(id, true),
            }
        }
        while let Some(reservation) = self.reservations.pop_expired(now.mono) {
            self.unbind([reservation.socket]);
        }
    }

    /// Ends the allocations of `user` in `scope`, and returns their number. The ports that the user
    /// has reserved are freed as well.
    ///
    /// Accounts whose name is the user and a `/` followed by more belong to the user.
    pub fn revoke(&mut self, user: &str, scope: &Scope) -> usize {
        let ids = self.table.matching(|allocation| {
            let is_bound_to = |room: &str, generations: &RevokedGenerations| {
                allocation.room.as_deref() == Some(room)
                    && generations.includes(self.generation(allocation))
            };
            belongs_to(&allocation.user, user)
                && match scope {
                    Scope::All => true,
                    Scope::Room(room, generations) => is_bound_to(room, generations),
                    Scope::RoomAndUnbound(room, generations) => {
                        allocation.room.is_none() || is_bound_to(room, generations)
                    }
                }
        });
        for id in &ids {
            self.free(*id);
        }
        let reserved = self.reservations.free(user);
        let unbind = reserved.map(|socket| Output::Unbind { socket });
        self.output.extend(unbind);
        ids.len()
    }

    /// Returns the generation of the membership that an allocation's credential is bound to.
    fn generation(&self, allocation: &Allocation) -> u64 {
        let name = Username::parse(&allocation.username);
        name.map_or(0, |name| self.config.revocations.resolve(name).generation)
    }

    /// Ends every allocation whose credential is bound to `room`, and returns their number.
    pub fn close_room(&mut self, room: &str) -> usize {
        let is_bound = |allocation: &Allocation| allocation.room.as_deref() == Some(room);
        let ids = self.table.matching(is_bound);
        for id in &ids {
            self.free(*id);
        }
        ids.len()
    }

    /// A stream began: ends the allocation of an earlier stream with the same five-tuple.
    pub fn stream_opened(&mut self, route: &Route) {
        if let Some(id) = self.table.find_by_client(route) {
            self.free(id);
        }
    }

    /// A stream ended: ends its allocation, but not the allocation of a later stream with the same
    /// five-tuple.
    pub fn stream_closed(&mut self, route: &Route) {
        let Some(id) = self.table.find_by_client(route) else {
            return;
        };
        let via = self.table.get(id).map(|allocation| allocation.route.via);
        if via == Some(route.via) {
            self.free(id);
        }
    }

    /// Returns the peer policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns whether a relayed address with this port belongs to this shard.
    pub fn has_port(&self, port: u16) -> bool {
        self.config.directory.shard_of_port(port) == self.shard
    }

    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Returns the number of allocations of this shard.
    pub fn allocations(&self) -> usize {
        self.table.len()
    }

    /// Ends an allocation, or one of its two relayed addresses if `family` names it.
    pub(super) fn end(&mut self, id: AllocationId, family: Option<Family>) {
        let allocation = self.table.get(id);
        let has_both = allocation.is_some_and(|a| a.relayed_addresses().count() > 1);
        match family {
            Some(family) if has_both => {
                let removed = self.table.remove_relayed_address(id, family);
                self.unbind(removed.map(|address| address.socket));
            }
            _ => self.free(id),
        }
    }

    /// Ends an allocation: removes it, reports it and closes its sockets.
    pub(super) fn free(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.remove(id) else {
            return;
        };
        if let Some(session) = allocation.session(None) {
            self.output.push_back(Output::Ended(Box::new(session)));
        }
        self.unbind(allocation.sockets());
    }

    /// Queues commands to close relay sockets.
    pub(super) fn unbind(&mut self, sockets: impl IntoIterator<Item = u32>) {
        let commands = sockets.into_iter().map(|socket| Output::Unbind { socket });
        self.output.extend(commands);
    }
}
