//! All allocations of a shard: a slab, its indexes and the deadline heap. Only this file changes
//! them, so that they stay consistent.
//!
//! # Deadlines
//!
//! The heap has one valid entry for each allocation: its [`Row::next_deadline`], which is not
//! later than the next expiry of the allocation, its permissions and its channels. When an entry
//! comes up, what has expired is removed and an entry for the next expiry is pushed. So a refresh,
//! which moves an expiry to a later time, does not touch the heap. An earlier expiry pushes a new
//! entry, and the old one becomes stale: it is ignored when it comes up, because its time differs
//! from `next_deadline`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use slab::Slab;

use crate::clock::Mono;

use super::allocation::{
    Allocation, CHANNEL_LIFETIME, Channel, PERMISSION_LIFETIME, RelayedAddress,
};
use super::client_key::ClientKey;
use super::directory::PortSet;
use super::family::Family;
use super::{AllocationId, Directory, Route, ShardId};

#[derive(Debug)]
pub(super) struct AllocationTable {
    rows: Slab<Row>,
    /// Hashed by SipHash with a random key, because remote parties choose the keys.
    by_client: HashMap<ClientKey, u32>,
    by_relayed: HashMap<SocketAddr, u32>,
    /// The IP addresses with relayed addresses of any shard, as of `epoch`. Scanning this list
    /// spares most packets a hash.
    relay_ips: Vec<(IpAddr, Arc<PortSet>)>,
    epoch: u64,
    deadlines: BinaryHeap<Reverse<(Mono, AllocationId)>>,
    generation: u32,
    shard: ShardId,
    directory: Arc<Directory>,
}

#[derive(Debug)]
#[repr(C)]
struct Row {
    generation: u32,
    /// The time of the valid entry of this allocation in `deadlines`.
    next_deadline: Mono,
    allocation: Allocation,
}

/// The location of a peer's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerLocation {
    /// A relayed address of this shard: that of the hint.
    Hinted(AllocationId),
    /// A relayed address of this shard.
    Local(AllocationId),
    /// A relayed address of another shard.
    OtherShard(ShardId),
    /// Not a relayed address of this relay.
    NotRelayed,
}

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The allocation has expired.
    Expired(AllocationId),
    /// The client of the allocation has gone silent in the middle of a call.
    PathLost(AllocationId),
}

impl Row {
    /// Updates the allocation's expiry: that of its first relayed address to expire.
    fn update_expiry(&mut self) {
        let ends = self
            .allocation
            .relayed_addresses()
            .map(|bound| bound.expires);
        if let Some(first) = ends.min() {
            self.allocation.expires = first;
        }
    }
}

impl AllocationTable {
    pub(super) fn new(shard: ShardId, directory: Arc<Directory>) -> AllocationTable {
        AllocationTable {
            rows: Slab::new(),
            by_client: HashMap::new(),
            by_relayed: HashMap::new(),
            // In this order: a change between the two reads has a new epoch, and is read again.
            epoch: directory.epoch(),
            relay_ips: directory.relay_ips(),
            deadlines: BinaryHeap::new(),
            generation: 0,
            shard,
            directory,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Claims a client for this shard before an allocation is made for it.
    ///
    /// # Errors
    ///
    /// Another shard has the client already.
    pub(super) fn claim(&self, client: &Route) -> Result<(), ShardId> {
        self.directory
            .claim_client(ClientKey::of(client), self.shard)
    }

    /// Releases a claim that did not lead to an allocation.
    pub(super) fn release_claim(&self, client: &Route) {
        let client = ClientKey::of(client);
        self.directory.remove_client(&client, self.shard);
    }

    /// Adds the allocation of a claimed client.
    pub(super) fn insert(&mut self, allocation: Allocation) -> AllocationId {
        self.generation = self.generation.wrapping_add(1);
        let client = ClientKey::of(&allocation.route);
        let (generation, next_deadline) = (self.generation, allocation.next_deadline());
        let row = Row {
            generation,
            next_deadline,
            allocation,
        };
        let id = AllocationId {
            index: self.rows.insert(row) as u32,
            generation,
        };
        self.by_client.insert(client, id.index);
        self.deadlines.push(Reverse((next_deadline, id)));
        id
    }

    /// Adds a restored allocation with its relayed addresses. Returns `None` if another allocation
    /// has its client or one of its addresses.
    pub(super) fn adopt(&mut self, allocation: Allocation) -> Option<AllocationId> {
        let is_known = self.find_by_client(&allocation.route).is_some();
        let room = allocation.room_key;
        let relayed: Vec<_> = allocation
            .relayed_addresses()
            .map(|address| address.relayed)
            .collect();
        let is_used = |relayed: &SocketAddr| self.by_relayed.contains_key(relayed);
        if is_known || relayed.iter().any(is_used) || self.claim(&allocation.route).is_err() {
            return None;
        }
        let id = self.insert(allocation);
        for relayed in relayed {
            self.by_relayed.insert(relayed, id.index);
            self.directory.add_relayed(relayed, room);
        }
        Some(id)
    }

    pub(super) fn get(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        Some(&mut self.row(id)?.allocation)
    }

    /// Iterates over every allocation, for rare commands.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Allocation> {
        self.rows.iter_mut().map(|(_, row)| &mut row.allocation)
    }

    /// Iterates over every allocation.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Allocation> {
        self.rows.iter().map(|(_, row)| &row.allocation)
    }

    /// Returns the allocations at `count` indexes from `from` on, and the index after them if there
    /// are more.
    pub(super) fn page(
        &self,
        from: usize,
        count: usize,
    ) -> (impl Iterator<Item = &Allocation>, Option<usize>) {
        let indexes = self.rows.capacity();
        let end = indexes.min(from.saturating_add(count));
        let rows = (from..end).filter_map(|index| self.rows.get(index));
        let next = (end < indexes).then_some(end);
        (rows.map(|row| &row.allocation), next)
    }

    pub(super) fn find_by_client(&self, route: &Route) -> Option<AllocationId> {
        let index = *self.by_client.get(&ClientKey::of(route))?;
        self.id(index)
    }

    /// Returns the location of a peer's address. A correct `hint` spares the look-up.
    #[inline(always)]
    pub(super) fn locate(
        &mut self,
        address: SocketAddr,
        hint: Option<AllocationId>,
    ) -> PeerLocation {
        if let Some(id) = hint
            && self.has_relayed(id, address)
        {
            return PeerLocation::Hinted(id);
        }
        if self.epoch != self.directory.epoch() {
            self.renew_relay_ips();
        }
        let mut ips = self.relay_ips.iter();
        let Some((_, ports)) = ips.find(|(ip, _)| *ip == address.ip()) else {
            return PeerLocation::NotRelayed;
        };
        let shard = self.directory.shard_of_port(address.port());
        if shard == self.shard {
            let own = self.find_by_relayed(address);
            own.map_or(PeerLocation::NotRelayed, PeerLocation::Local)
        } else if ports.has(address.port()) {
            PeerLocation::OtherShard(shard)
        } else {
            PeerLocation::NotRelayed
        }
    }

    #[cold]
    #[inline(never)]
    fn renew_relay_ips(&mut self) {
        self.epoch = self.directory.epoch();
        self.relay_ips = self.directory.relay_ips();
    }

    fn has_relayed(&mut self, id: AllocationId, address: SocketAddr) -> bool {
        let allocation = self.get(id);
        let bound = allocation.and_then(|a| a.relay_to(address.ip()));
        bound.is_some_and(|bound| bound.relayed == address)
    }

    /// Returns the allocation of this shard with this relayed address.
    #[inline(always)]
    pub(super) fn find_by_relayed(&self, address: SocketAddr) -> Option<AllocationId> {
        self.id(*self.by_relayed.get(&address)?)
    }

    /// Assigns a relayed address to an allocation, with `local` as its local address. Returns false
    /// if another allocation has it already.
    pub(super) fn set_relayed(
        &mut self,
        id: AllocationId,
        socket: u32,
        relayed: SocketAddr,
        local: IpAddr,
    ) -> bool {
        if self.by_relayed.contains_key(&relayed) {
            return false;
        }
        let Some(allocation) = self.get(id) else {
            return false;
        };
        let room = allocation.room_key;
        let family = Family::of(relayed.ip());
        allocation.relays[family as usize] = Some(RelayedAddress {
            socket,
            relayed,
            expires: allocation.expires,
            local,
        });
        self.by_relayed.insert(relayed, id.index);
        self.directory.add_relayed(relayed, room);
        true
    }

    /// Removes one of two relayed addresses from an allocation.
    pub(super) fn remove_relayed_address(
        &mut self,
        id: AllocationId,
        family: Family,
    ) -> Option<RelayedAddress> {
        let row = self.row(id)?;
        let removed = row.allocation.remove_family(family)?;
        row.update_expiry();
        let next_deadline = row.allocation.next_deadline();
        row.next_deadline = next_deadline;
        self.deadlines.push(Reverse((next_deadline, id)));
        self.unindex_relayed(removed.relayed);
        Some(removed)
    }

    fn unindex_relayed(&mut self, relayed: SocketAddr) {
        self.by_relayed.remove(&relayed);
        self.directory.remove_relayed(relayed);
    }

    /// Sets the expiry of an allocation's relayed address of `family`, or of all its relayed
    /// addresses.
    pub(super) fn set_expiry(&mut self, id: AllocationId, family: Option<Family>, expires: Mono) {
        let Some(row) = self.row(id) else {
            return;
        };
        for address in row.allocation.relays.iter_mut().flatten() {
            let address_family = Family::of(address.relayed.ip());
            if family.is_none_or(|family| family == address_family) {
                address.expires = expires;
            }
        }
        row.update_expiry();
        let expires = row.allocation.expires;
        self.schedule(id, expires);
    }

    /// Installs or refreshes a permission, and schedules its expiry.
    pub(super) fn permit_peer(&mut self, id: AllocationId, ip: IpAddr, now: Mono) {
        let expires = now + PERMISSION_LIFETIME;
        if let Some(allocation) = self.get(id) {
            allocation.permit_peer(ip, expires);
            self.schedule(id, expires);
        }
    }

    /// Binds or refreshes a channel, and schedules its expiry. The caller has checked that number
    /// and peer belong together. `direct` is [`Channel::direct`].
    pub(super) fn bind_channel(
        &mut self,
        id: AllocationId,
        number: u16,
        peer: SocketAddr,
        direct: bool,
        now: Mono,
    ) {
        let channel = Channel {
            number,
            direct,
            target: None,
            peer,
            expires: now + CHANNEL_LIFETIME,
        };
        if let Some(allocation) = self.get(id) {
            allocation.bind_channel(channel);
            self.schedule(id, channel.expires);
        }
    }

    /// Makes sure that the heap has an entry for this allocation at `at` or earlier. An expiry that
    /// moves to a later time needs no entry: the earlier one is moved when it comes up. So a
    /// refresh does not touch the heap.
    pub(super) fn schedule(&mut self, id: AllocationId, at: Mono) {
        let Some(row) = self.row(id) else {
            return;
        };
        if at < row.next_deadline {
            row.next_deadline = at;
            self.deadlines.push(Reverse((at, id)));
            self.remove_stale_deadlines();
        }
    }

    /// Rebuilds the heap if it has many stale entries, which stay until their time. A client that
    /// moves an expiry back and forth must not grow the heap.
    fn remove_stale_deadlines(&mut self) {
        if self.deadlines.len() > 4 * self.rows.len() + 64 {
            let rows = self.rows.iter();
            let entries = rows.map(|(index, row)| {
                let generation = row.generation;
                let index = index as u32;
                Reverse((row.next_deadline, AllocationId { index, generation }))
            });
            self.deadlines = entries.collect();
        }
    }

    /// Removes an allocation from the table and all indexes.
    pub(super) fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        self.get(id)?;
        let Row { allocation, .. } = self.rows.remove(id.index as usize);
        let client = ClientKey::of(&allocation.route);
        self.by_client.remove(&client);
        self.directory.remove_client(&client, self.shard);
        for address in allocation.relayed_addresses() {
            self.unindex_relayed(address.relayed);
        }
        Some(allocation)
    }

    /// Returns when something may expire next.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes the permissions and channels that have expired at `now`, and returns an allocation
    /// that has expired or whose path is lost. Call it until it returns `None`.
    pub(super) fn pop_due(&mut self, now: Mono) -> Option<Due> {
        while let Some(Reverse((at, id))) = self.deadlines.peek().copied() {
            if at > now {
                return None;
            }
            self.deadlines.pop();
            let Some(row) = self.row(id).filter(|row| row.next_deadline == at) else {
                continue;
            };
            if row.allocation.expires <= now {
                return Some(Due::Expired(id));
            }
            row.allocation.remove_expired(now);
            let monitor = row.allocation.monitor.as_mut();
            let is_path_lost = monitor.is_some_and(|monitor| monitor.check(now));
            let next_deadline = row.allocation.next_deadline();
            row.next_deadline = next_deadline;
            self.deadlines.push(Reverse((next_deadline, id)));
            if is_path_lost {
                return Some(Due::PathLost(id));
            }
        }
        None
    }

    /// Returns the number of entries in the deadline heap, including stale ones.
    #[cfg(test)]
    pub(super) fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// Returns the allocations for which `matches` returns true, for rare commands such as a
    /// revocation.
    pub(super) fn matching(&self, matches: impl Fn(&Allocation) -> bool) -> Vec<AllocationId> {
        let rows = self.rows.iter().filter(|(_, row)| matches(&row.allocation));
        rows.filter_map(|(index, _)| self.id(index as u32))
            .collect()
    }

    fn id(&self, index: u32) -> Option<AllocationId> {
        let generation = self.rows.get(index as usize)?.generation;
        Some(AllocationId { index, generation })
    }

    fn row(&mut self, id: AllocationId) -> Option<&mut Row> {
        let row = self.rows.get_mut(id.index as usize)?;
        (row.generation == id.generation).then_some(row)
    }
}
