//! All allocations of a shard: one slab, its indexes and its deadlines. The only file that edits
//! them, so that they can't disagree.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use slab::Slab;

use crate::clock::Mono;

use super::allocation::{
    Allocation, CHANNEL_LIFETIME, Channel, PERMISSION_LIFETIME, RelayedAddress,
};
use super::directory::PortSet;
use super::family::Family;
use super::{AllocationId, Directory, Route, ShardId};

#[derive(Debug)]
pub(super) struct Table {
    slots: Slab<Slot>,
    /// KeyedLimiter by SipHash with a random key: remote parties choose what is in here.
    by_client: HashMap<ClientKey, u32>,
    by_relayed: HashMap<SocketAddr, u32>,
    /// The IPs that hold relayed addresses, of any shard: a glance that spares most packets a
    /// hash. As of `epoch`.
    relay_ips: Vec<(IpAddr, Arc<PortSet>)>,
    epoch: u64,
    deadlines: BinaryHeap<Reverse<(Mono, AllocationId)>>,
    generation: u32,
    shard: ShardId,
    directory: Arc<Directory>,
}

#[derive(Debug)]
#[repr(C)]
struct Slot {
    generation: u32,
    /// When the earliest entry of this allocation in `deadlines` comes up.
    next_deadline: Mono,
    allocation: Allocation,
}

/// Who has a relayed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerLocation {
    Local(AllocationId),
    /// Another shard.
    OtherShard(ShardId),
    NotRelayed,
}

/// A five-tuple, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientKey([u64; 5]);

impl Hash for ClientKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.0 {
            state.write_u64(word);
        }
    }
}

impl ClientKey {
    pub fn of(route: &Route) -> ClientKey {
        let [client_high, client_low] = halves(route.client.ip());
        let [server_high, server_low] = halves(route.server.ip());
        let transport = route.transport as u64;
        let ports = u64::from(route.client.port()) << 16 | u64::from(route.server.port());
        ClientKey([
            client_high,
            client_low,
            server_high,
            server_low,
            transport << 32 | ports,
        ])
    }
}

fn halves(ip: IpAddr) -> [u64; 2] {
    match ip {
        IpAddr::V4(ip) => [0, 0xffff << 32 | u64::from(u32::from(ip))],
        IpAddr::V6(ip) => [(u128::from(ip) >> 64) as u64, u128::from(ip) as u64],
    }
}

impl Slot {
    /// The allocation's next end is that of its first address to end.
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

impl Table {
    pub fn new(shard: ShardId, directory: Arc<Directory>) -> Table {
        Table {
            slots: Slab::new(),
            by_client: HashMap::new(),
            by_relayed: HashMap::new(),
            // In this order: what changes in between is read again.
            epoch: directory.epoch(),
            relay_ips: directory.relay_ips(),
            deadlines: BinaryHeap::new(),
            generation: 0,
            shard,
            directory,
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Makes sure that no other shard serves this client, before an allocation is made for it. The
    /// response is the shard that does.
    pub fn claim(&self, client: &Route) -> Result<(), ShardId> {
        self.directory
            .claim_client(ClientKey::of(client), self.shard)
    }

    /// Takes back a claim that no allocation came of.
    pub fn release_claim(&self, client: &Route) {
        let client = ClientKey::of(client);
        self.directory.remove_client(&client, self.shard);
    }

    /// Adds the allocation of a client that was claimed.
    pub fn insert(&mut self, allocation: Allocation) -> AllocationId {
        self.generation = self.generation.wrapping_add(1);
        let client = ClientKey::of(&allocation.route);
        let (generation, next_deadline) = (self.generation, allocation.next_expiry());
        let slot = Slot {
            generation,
            next_deadline,
            allocation,
        };
        let id = AllocationId {
            index: self.slots.insert(slot) as u32,
            generation,
        };
        self.by_client.insert(client, id.index);
        self.deadlines.push(Reverse((next_deadline, id)));
        id
    }

    /// Adds an allocation that has its relayed addresses already, unless its client or one of its
    /// addresses is somebody else's.
    pub fn adopt(&mut self, allocation: Allocation) -> Option<AllocationId> {
        let known = self.find_by_client(&allocation.route).is_some();
        let relayed: Vec<_> = allocation
            .relayed_addresses()
            .map(|bound| bound.relayed)
            .collect();
        let taken = |relayed: &SocketAddr| self.by_relayed.contains_key(relayed);
        if known || relayed.iter().any(taken) || self.claim(&allocation.route).is_err() {
            return None;
        }
        let id = self.insert(allocation);
        for relayed in relayed {
            self.by_relayed.insert(relayed, id.index);
            self.directory.add_relayed(relayed);
        }
        Some(id)
    }

    pub fn get(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        Some(&mut self.slot(id)?.allocation)
    }

    /// Every allocation, for rare orders.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Allocation> {
        self.slots.iter_mut().map(|(_, slot)| &mut slot.allocation)
    }

    /// Every allocation, to be read.
    pub fn iter(&self) -> impl Iterator<Item = &Allocation> {
        self.slots.iter().map(|(_, slot)| &slot.allocation)
    }

    /// The allocations of `count` places from `from` on, and where the next ones are.
    pub fn page(
        &self,
        from: usize,
        count: usize,
    ) -> (impl Iterator<Item = &Allocation>, Option<usize>) {
        let places = self.slots.capacity();
        let end = places.min(from.saturating_add(count));
        let slots = (from..end).filter_map(|index| self.slots.get(index));
        let next = (end < places).then_some(end);
        (slots.map(|slot| &slot.allocation), next)
    }

    pub fn find_by_client(&self, route: &Route) -> Option<AllocationId> {
        let index = *self.by_client.get(&ClientKey::of(route))?;
        self.id(index)
    }

    /// Who has this relayed address. Where `hint` is right, that is known by one look.
    pub fn locate(&mut self, address: SocketAddr, hint: Option<AllocationId>) -> PeerLocation {
        if let Some(id) = hint
            && self.has_relayed(id, address)
        {
            return PeerLocation::Local(id);
        }
        if self.epoch != self.directory.epoch() {
            self.epoch = self.directory.epoch();
            self.relay_ips = self.directory.relay_ips();
        }
        let mut ips = self.relay_ips.iter();
        let Some((_, ports)) = ips.find(|(ip, _)| *ip == address.ip()) else {
            return PeerLocation::NotRelayed;
        };
        let shard = self.directory.shard_of_port(address.port());
        if shard == self.shard {
            let ours = self.find_by_relayed(address);
            ours.map_or(PeerLocation::NotRelayed, PeerLocation::Local)
        } else if ports.has(address.port()) {
            PeerLocation::OtherShard(shard)
        } else {
            PeerLocation::NotRelayed
        }
    }

    fn has_relayed(&mut self, id: AllocationId, address: SocketAddr) -> bool {
        let allocation = self.get(id);
        let bound = allocation.and_then(|a| a.relay_to(address.ip()));
        bound.is_some_and(|bound| bound.relayed == address)
    }

    /// The allocation of this shard whose relayed address this is.
    pub fn find_by_relayed(&self, address: SocketAddr) -> Option<AllocationId> {
        self.id(*self.by_relayed.get(&address)?)
    }

    /// Assigns a relayed address to an allocation, with `local` as its local address. False if another
    /// allocation has it already.
    pub fn set_relayed(
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
        let family = Family::of(relayed.ip());
        allocation.relays[family as usize] = Some(RelayedAddress {
            socket,
            relayed,
            expires: allocation.expires,
            local,
        });
        self.by_relayed.insert(relayed, id.index);
        self.directory.add_relayed(relayed);
        true
    }

    /// Takes one of two relayed addresses from an allocation.
    pub fn remove_relayed_address(
        &mut self,
        id: AllocationId,
        family: Family,
    ) -> Option<RelayedAddress> {
        let slot = self.slot(id)?;
        let lost = slot.allocation.remove_family(family)?;
        slot.update_expiry();
        let next_deadline = slot.allocation.next_expiry();
        slot.next_deadline = next_deadline;
        self.deadlines.push(Reverse((next_deadline, id)));
        self.forget_relayed(lost.relayed);
        Some(lost)
    }

    fn forget_relayed(&mut self, relayed: SocketAddr) {
        self.by_relayed.remove(&relayed);
        self.directory.remove_relayed(relayed);
    }

    /// Moves the end of an allocation's address of `family`, or of all that it has.
    pub fn set_expiry(&mut self, id: AllocationId, family: Option<Family>, expires: Mono) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        for each in Family::BOTH {
            let meant = family.is_none_or(|family| family == each);
            if let Some(bound) = slot.allocation.relays[each as usize]
                .as_mut()
                .filter(|_| meant)
            {
                bound.expires = expires;
            }
        }
        slot.update_expiry();
        let expires = slot.allocation.expires;
        self.schedule(id, expires);
    }

    /// Installs or refreshes a permission, and schedules its expiry.
    pub fn permit_peer(&mut self, id: AllocationId, ip: IpAddr, now: Mono) {
        let expires = now + PERMISSION_LIFETIME;
        if let Some(allocation) = self.get(id) {
            allocation.permit_peer(ip, expires);
            self.schedule(id, expires);
        }
    }

    /// Binds or refreshes a channel, and schedules its expiry. The caller has checked that number
    /// and peer belong together. `direct` is [`Channel::direct`].
    pub fn bind_channel(
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
    fn schedule(&mut self, id: AllocationId, at: Mono) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        if at < slot.next_deadline {
            slot.next_deadline = at;
            self.deadlines.push(Reverse((at, id)));
            self.forget_stale_deadlines();
        }
    }

    /// Entries of moved deadlines stay until their time comes. A client that moves its own back and
    /// forth must not pile them up until then.
    fn forget_stale_deadlines(&mut self) {
        if self.deadlines.len() > 4 * self.slots.len() + 64 {
            let slots = self.slots.iter();
            let entries = slots.map(|(index, slot)| {
                let generation = slot.generation;
                let index = index as u32;
                Reverse((slot.next_deadline, AllocationId { index, generation }))
            });
            self.deadlines = entries.collect();
        }
    }

    pub fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        self.get(id)?;
        let Slot { allocation, .. } = self.slots.remove(id.index as usize);
        let client = ClientKey::of(&allocation.route);
        self.by_client.remove(&client);
        self.directory.remove_client(&client, self.shard);
        for bound in allocation.relayed_addresses() {
            self.forget_relayed(bound.relayed);
        }
        Some(allocation)
    }

    /// The next moment at which something may have run out.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes the permissions and channels that have expired at `now`, and returns an allocation
    /// that has expired. Call it until it returns `None`.
    pub fn pop_expired(&mut self, now: Mono) -> Option<AllocationId> {
        while let Some(Reverse((at, id))) = self.deadlines.peek().copied() {
            if at > now {
                return None;
            }
            self.deadlines.pop();
            let Some(slot) = self.slot(id).filter(|slot| slot.next_deadline == at) else {
                continue;
            };
            if slot.allocation.expires <= now {
                return Some(id);
            }
            slot.allocation.remove_expired(now);
            let next_deadline = slot.allocation.next_expiry();
            slot.next_deadline = next_deadline;
            self.deadlines.push(Reverse((next_deadline, id)));
        }
        None
    }

    /// Entries among the deadlines, the stale ones included.
    #[cfg(test)]
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// The allocations that fit, for rare orders such as a revocation.
    pub fn matching(&self, fits: impl Fn(&Allocation) -> bool) -> Vec<AllocationId> {
        let slots = self.slots.iter().filter(|(_, slot)| fits(&slot.allocation));
        slots
            .filter_map(|(index, _)| self.id(index as u32))
            .collect()
    }

    fn id(&self, index: u32) -> Option<AllocationId> {
        let generation = self.slots.get(index as usize)?.generation;
        Some(AllocationId { index, generation })
    }

    fn slot(&mut self, id: AllocationId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.index as usize)?;
        (slot.generation == id.generation).then_some(slot)
    }
}
