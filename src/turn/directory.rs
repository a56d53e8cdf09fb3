//! The shared directory of a relay's shards: which shard has a client, and which ports are relayed
//! addresses. A shard reads it only for clients and addresses that are not its own.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::net::PortRange;

use super::client_key::ClientKey;
use super::room_key::{RoomKey, RoomKeys};
use super::{Route, ShardId};

/// Relay ports form this many groups, and groups are distributed among the shards. A
/// port's shard depends only on the number of shards.
const PORT_GROUPS: usize = 256;

/// The directory of a relay's shards.
#[derive(Debug)]
pub struct Directory {
    shards: ShardId,
    clients: RwLock<HashMap<ClientKey, ShardId>>,
    /// The IP addresses with relayed addresses: their number and their ports.
    ips: RwLock<HashMap<IpAddr, (usize, Arc<PortSet>)>>,
    /// The room of each relayed address whose credential is bound to one.
    rooms: RwLock<HashMap<SocketAddr, RoomKey>>,
    room_keys: RoomKeys,
    /// Incremented when an IP address gets its first relayed address or loses its last one.
    epoch: AtomicU64,
}

/// The ports of an IP address that are relayed addresses, one bit each. The packet path reads it
/// without a lock.
#[derive(Debug)]
pub(super) struct PortSet(Box<[AtomicU64]>);

impl PortSet {
    fn empty() -> PortSet {
        let words = (0..=u16::MAX).step_by(64);
        PortSet(words.map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn has(&self, port: u16) -> bool {
        let (word, bit) = self.bit(port);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Returns the 64 ports from 64 times `index` on, one bit each.
    pub(super) fn word(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    fn add(&self, port: u16) {
        let (word, bit) = self.bit(port);
        word.fetch_or(bit, Ordering::Relaxed);
    }

    fn remove(&self, port: u16) {
        let (word, bit) = self.bit(port);
        word.fetch_and(!bit, Ordering::Relaxed);
    }

    fn bit(&self, port: u16) -> (&AtomicU64, u64) {
        (&self.0[usize::from(port / 64)], 1 << (port % 64))
    }
}

impl Directory {
    pub fn new(shards: ShardId) -> Directory {
        Directory {
            shards: shards.max(1),
            clients: RwLock::default(),
            ips: RwLock::default(),
            rooms: RwLock::default(),
            room_keys: RoomKeys::default(),
            epoch: AtomicU64::new(0),
        }
    }

    /// Returns the maximum number of shards for `ports`: each needs a pair of ports.
    pub fn max_shards(ports: PortRange) -> ShardId {
        let pairs = usize::from(ports.last >> 1) - usize::from(ports.first >> 1) + 1;
        pairs.min(ShardId::MAX.into()) as ShardId
    }

    pub fn shards(&self) -> ShardId {
        self.shards
    }

    /// Returns the shard of a relay port. An even port and the next one have the same shard.
    pub fn shard_of_port(&self, port: u16) -> ShardId {
        let group = usize::from(port >> 1) % PORT_GROUPS;
        (group % usize::from(self.shards)) as ShardId
    }

    /// Returns whether an allocation has a relayed address with this IP address.
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        read(&self.ips).contains_key(&ip)
    }

    /// Returns the shard that has the client's allocation; `None` if there is only one shard.
    pub fn shard_of_client(&self, route: &Route) -> Option<ShardId> {
        if self.shards == 1 {
            return None;
        }
        read(&self.clients).get(&ClientKey::of(route)).copied()
    }

    /// Returns a shard with a client that this one may have been before a NAT rebinding; `None` if there
    /// is only one shard.
    pub(super) fn shard_before_rebinding(&self, key: ClientKey) -> Option<ShardId> {
        let clients = read(&self.clients);
        let mut clients = clients.iter();
        let (_, shard) = clients.find(|(known, _)| key.is_rebound_from(**known))?;
        Some(*shard)
    }

    /// Returns whether this is the relayed address of an allocation.
    pub(super) fn has_relayed(&self, address: SocketAddr) -> bool {
        let ips = read(&self.ips);
        let held = ips.get(&address.ip());
        held.is_some_and(|(_, ports)| ports.has(address.port()))
    }

    /// Returns the key of a credential's room.
    pub(super) fn room_key(&self, room: Option<&str>) -> RoomKey {
        self.room_keys.key_of(room)
    }

    /// Returns the key of the room of a relayed address; `None` if this is not the relayed address
    /// of an allocation.
    pub(super) fn room_of(&self, relayed: SocketAddr) -> Option<RoomKey> {
        let room = read(&self.rooms).get(&relayed).copied();
        room.or_else(|| self.has_relayed(relayed).then_some(RoomKey::NONE))
    }

    /// Returns a number that changes whenever [`Directory::relay_ips`] changes.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Returns the IP addresses with relayed addresses, and their port sets, which are live.
    pub(super) fn relay_ips(&self) -> Vec<(IpAddr, Arc<PortSet>)> {
        let ips = read(&self.ips);
        let ips = ips.iter().map(|(ip, (_, ports))| (*ip, ports.clone()));
        ips.collect()
    }

    /// Returns the port set of an IP address; `None` if it has no relayed address.
    pub(super) fn ports_of(&self, ip: IpAddr) -> Option<Arc<PortSet>> {
        read(&self.ips).get(&ip).map(|(_, ports)| ports.clone())
    }

    /// Claims a client for `shard`. Of two shards that claim it at the same time, one succeeds.
    ///
    /// # Errors
    ///
    /// The other shard that has the client.
    pub(super) fn claim_client(&self, key: ClientKey, shard: ShardId) -> Result<(), ShardId> {
        if self.shards == 1 {
            return Ok(());
        }
        let owner = *write(&self.clients).entry(key).or_insert(shard);
        if owner == shard { Ok(()) } else { Err(owner) }
    }

    /// Removes a client if it belongs to `shard`.
    pub(super) fn remove_client(&self, key: &ClientKey, shard: ShardId) {
        if self.shards > 1 {
            let mut clients = write(&self.clients);
            if clients.get(key) == Some(&shard) {
                clients.remove(key);
            }
        }
    }

    /// Returns whether the directory has no client and no relayed address.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        read(&self.clients).is_empty() && read(&self.ips).is_empty() && read(&self.rooms).is_empty()
    }

    pub(super) fn add_relayed(&self, relayed: SocketAddr, room: RoomKey) {
        if room != RoomKey::NONE {
            write(&self.rooms).insert(relayed, room);
        }
        let mut ips = write(&self.ips);
        let empty = || (0, Arc::new(PortSet::empty()));
        let (count, ports) = ips.entry(relayed.ip()).or_insert_with(empty);
        ports.add(relayed.port());
        *count += 1;
        if *count == 1 {
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn remove_relayed(&self, relayed: SocketAddr) {
        let mut ips = write(&self.ips);
        if let Some((count, ports)) = ips.get_mut(&relayed.ip()) {
            ports.remove(relayed.port());
            *count -= 1;
            if *count == 0 {
                ips.remove(&relayed.ip());
                self.epoch.fetch_add(1, Ordering::Release);
            }
        }
        // After the port, so that the address never seems to have no room.
        write(&self.rooms).remove(&relayed);
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_pair_belongs_to_one_shard_and_every_shard_has_ports() {
        let directory = Directory::new(3);
        let mut ports = [0; 3];
        for even in (49_152..65_535).step_by(2) {
            let shard = directory.shard_of_port(even);
            assert_eq!(shard, directory.shard_of_port(even + 1));
            ports[usize::from(shard)] += 1;
        }
        assert!(ports.iter().all(|pairs| *pairs > 2000), "{ports:?}");
    }

    #[test]
    fn a_client_belongs_to_one_shard_until_it_is_removed() {
        let directory = Directory::new(2);
        let client = ClientKey::of(&Route {
            transport: super::super::Transport::Udp,
            client: "192.0.2.1:1000".parse().unwrap(),
            server: "192.0.2.2:3478".parse().unwrap(),
            via: 0,
        });
        assert_eq!(directory.claim_client(client, 1), Ok(()));
        assert_eq!(directory.claim_client(client, 0), Err(1));
        assert_eq!(directory.claim_client(client, 1), Ok(()));
        directory.remove_client(&client, 0);
        assert_eq!(directory.claim_client(client, 0), Err(1));
        directory.remove_client(&client, 1);
        assert_eq!(directory.claim_client(client, 0), Ok(()));
    }

    #[test]
    fn a_small_port_range_supports_few_shards() {
        let max = |first, last| Directory::max_shards(PortRange { first, last });
        assert_eq!(max(50_000, 50_000), 1);
        assert_eq!(max(50_001, 50_004), 3);
        assert_eq!(max(1024, 65_535), 255);
    }

    #[test]
    fn an_ip_is_listed_until_its_last_relayed_address_is_removed() {
        let directory = Directory::new(2);
        let [one, two]: [SocketAddr; 2] =
            ["192.0.2.1:5", "192.0.2.1:6"].map(|a| a.parse().unwrap());
        let before = directory.epoch();
        directory.add_relayed(one, RoomKey::NONE);
        let known = directory.epoch();
        assert_ne!(before, known);
        directory.add_relayed(two, RoomKey::NONE);
        directory.remove_relayed(one);
        assert_eq!(directory.epoch(), known);
        assert!(directory.has_ip(one.ip()));
        assert!(!directory.has_relayed(one) && directory.has_relayed(two));
        let elsewhere = SocketAddr::new("192.0.2.2".parse().unwrap(), two.port());
        assert!(!directory.has_relayed(elsewhere));
        directory.remove_relayed(two);
        assert!(!directory.has_ip(one.ip()) && !directory.has_relayed(two));
        assert_ne!(directory.epoch(), known);
    }
}
