//! Limits of HTTP connections: in total and per address. At a limit, a new connection may evict an
//! existing one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use crate::rate;

/// Every open connection of a server.
pub struct Slots {
    max: usize,
    held: Mutex<Held>,
    /// Notified of each slot that becomes free.
    freed: Notify,
    connections: Gauge,
}

#[derive(Default)]
struct Held {
    total: usize,
    /// The number of the next connection: an older one has a lower number.
    next: u64,
    /// Connections of each address, by its prefix, the oldest first.
    addresses: HashMap<u64, BTreeMap<u64, Arc<Use>>>,
    /// The addresses, sorted by their number of connections.
    counts: BTreeSet<(usize, u64)>,
}

/// The current use of a connection.
#[derive(Default)]
struct Use {
    /// Requests in progress.
    requests: AtomicU32,
    /// Whether the connection has had a request.
    asked: AtomicBool,
    websocket: AtomicBool,
    give_way: Notify,
}

/// The value of a connection; the connection with the lowest value is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// No request has arrived yet.
    Silent,
    /// All requests have been answered.
    Idle,
    Answering,
    WebSocket,
}

/// The reason why a connection gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The address has reached the limit per address.
    Address,
    /// All slots are used, and no address has more than this one.
    Heaviest,
    /// All slots are used, each by another address: wait until a slot is free.
    Full,
}

/// A connection's slot; freed when the last clone is dropped.
#[derive(Clone)]
pub struct Slot(Arc<Open>);

struct Open {
    slots: Arc<Slots>,
    number: u64,
    used: Arc<Use>,
    /// The prefix of the client's address; `None` if the connection counts for no address.
    address: Mutex<Option<u64>>,
}

/// A request in progress.
pub struct Answering(Slot);

impl Slots {
    pub fn new(max: usize, connections: Gauge) -> Arc<Slots> {
        Arc::new(Slots {
            max,
            held: Mutex::default(),
            freed: Notify::new(),
            connections,
        })
    }

    /// Takes a slot for a connection of `client`, which may have `max_per_address`. With `None` the
    /// connection counts for no address, and is never evicted.
    pub fn take(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        max_per_address: usize,
    ) -> Result<Slot, Refused> {
        let address = client.map(rate::source_prefix);
        let used = Arc::new(Use::default());
        let mut held = self.held();
        if let Some(address) = address {
            held.admit(address, max_per_address)?;
        }
        if held.total >= self.max {
            held.make_room(address)?;
        }
        let number = held.next;
        held.next += 1;
        held.total += 1;
        if let Some(address) = address {
            held.add(address, number, used.clone());
        }
        drop(held);
        self.connections.inc();
        let open = Open {
            slots: self.clone(),
            number,
            used,
            address: Mutex::new(address),
        };
        Ok(Slot(Arc::new(open)))
    }

    /// Waits until a slot may be free.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn count(&self, address: u64) -> usize {
        self.addresses.get(&address).map_or(0, BTreeMap::len)
    }

    /// Whether an address may have one more connection. At its limit, one of its own connections
    /// without a request is evicted.
    fn admit(&mut self, address: u64, max_per_address: usize) -> Result<(), Refused> {
        let has_room = self.count(address) < max_per_address;
        match has_room || self.evict(address, Worth::Silent) {
            true => Ok(()),
            false => Err(Refused::Address),
        }
    }

    /// All slots are used: evicts a connection of the address with the most.
    fn make_room(&mut self, newcomer: Option<u64>) -> Result<(), Refused> {
        let own = newcomer.map_or(0, |address| self.count(address));
        let Some(&(most, heaviest)) = self.counts.last() else {
            return Err(Refused::Full);
        };
        let made = match newcomer {
            // The new connection's address would have as many: evict only connections without a request.
            Some(address) if own + 1 >= most => self.evict(address, Worth::Idle),
            _ => most > 1 && self.evict(heaviest, Worth::WebSocket),
        };
        match made {
            true => Ok(()),
            false if own > 0 => Err(Refused::Heaviest),
            false => Err(Refused::Full),
        }
    }

    /// Evicts the connection of `address` with the lowest value, the oldest of equals; none with a
    /// value above `most`.
    fn evict(&mut self, address: u64, most: Worth) -> bool {
        let Some(connections) = self.addresses.get(&address) else {
            return false;
        };
        let least = connections.iter().min_by_key(|(_, used)| used.worth());
        let Some((&number, used)) = least.filter(|(_, used)| used.worth() <= most) else {
            return false;
        };
        // The connection may or may not wait for this already.
        used.give_way.notify_one();
        self.remove(address, number);
        true
    }

    fn add(&mut self, address: u64, number: u64, used: Arc<Use>) {
        let connections = self.addresses.entry(address).or_default();
        self.counts.remove(&(connections.len(), address));
        connections.insert(number, used);
        self.counts.insert((connections.len(), address));
    }

    /// Removes a connection; an evicted one is removed already.
    fn remove(&mut self, address: u64, number: u64) {
        let Some(connections) = self.addresses.get_mut(&address) else {
            return;
        };
        let before = connections.len();
        if connections.remove(&number).is_none() {
            return;
        }
        self.total -= 1;
        self.counts.remove(&(before, address));
        if connections.is_empty() {
            self.addresses.remove(&address);
        } else {
            self.counts.insert((before - 1, address));
        }
    }
}

impl Use {
    fn worth(&self) -> Worth {
        if self.websocket.load(Ordering::Relaxed) {
            Worth::WebSocket
        } else if self.requests.load(Ordering::Relaxed) > 0 {
            Worth::Answering
        } else if self.asked.load(Ordering::Relaxed) {
            Worth::Idle
        } else {
            Worth::Silent
        }
    }
}

impl Slot {
    /// A proxy has named the client of this connection: the connection counts for that address now.
    pub fn is_of(&self, client: IpAddr, max_per_address: usize) -> Result<(), Refused> {
        let (open, address) = (&self.0, rate::source_prefix(client));
        let mut held = open.slots.held();
        held.admit(address, max_per_address)?;
        let mut own = open.address.lock().unwrap_or_else(PoisonError::into_inner);
        match *own {
            Some(earlier) => held.remove(earlier, open.number),
            None => held.total -= 1,
        }
        held.total += 1;
        held.add(address, open.number, open.used.clone());
        *own = Some(address);
        Ok(())
    }

    /// Records the start of a request.
    pub fn answering(&self) -> Answering {
        let used = &self.0.used;
        used.asked.store(true, Ordering::Relaxed);
        used.requests.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// Whether half of all slots are used: idle connections are closed then. Proxies keep theirs.
    pub fn is_scarce(&self) -> bool {
        let address = self.0.address.lock();
        let is_client = address.unwrap_or_else(PoisonError::into_inner).is_some();
        is_client && 2 * self.0.slots.held().total > self.0.slots.max
    }

    /// Records that the connection has become a WebSocket.
    pub fn is_websocket(&self) {
        self.0.used.websocket.store(true, Ordering::Relaxed);
    }

    /// Waits until this connection is evicted.
    pub async fn given_up(&self) {
        self.0.used.give_way.notified().await;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let used = &self.0.0.used;
        used.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut held = self.slots.held();
        match *self
            .address
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Some(address) => held.remove(address, self.number),
            None => held.total -= 1,
        }
        drop(held);
        self.slots.connections.dec();
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(max: usize) -> Arc<Slots> {
        Slots::new(max, Gauge::default())
    }

    fn from(slots: &Arc<Slots>, last: u8) -> Result<Slot, Refused> {
        slots.take(Some(IpAddr::from([192, 0, 2, last])), 100)
    }

    fn has_to_give_way(slot: &Slot) -> bool {
        let waiting = std::pin::pin!(slot.given_up());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        waiting.poll(&mut context).is_ready()
    }

    fn given_up(slots: &[Slot]) -> Vec<usize> {
        let given_up = |(number, slot)| has_to_give_way(slot).then_some(number);
        slots.iter().enumerate().filter_map(given_up).collect()
    }

    #[test]
    fn the_address_with_most_connections_gives_way_to_any_other() {
        let slots = slots(10);
        let heavy: Vec<Slot> = (0..9).map(|_| from(&slots, 1).ok().unwrap()).collect();
        let light = from(&slots, 2).ok().unwrap();
        // A higher value than the next ones; the last has sent no request.
        heavy[..4].iter().for_each(Slot::is_websocket);
        let answering: Vec<_> = heavy[4..6].iter().map(Slot::answering).collect();
        drop(heavy[6..8].iter().map(Slot::answering).collect::<Vec<_>>());
        let mut newcomers = Vec::new();
        let mut order = Vec::new();
        for last in 3..12 {
            newcomers.push(from(&slots, last));
            order.extend(given_up(&heavy));
        }
        assert_eq!(order, [8, 6, 7, 4, 5, 0, 1, 2]);
        // Each address has one connection.
        assert!(newcomers[..8].iter().all(Result::is_ok));
        assert_eq!(newcomers[8].as_ref().err(), Some(&Refused::Full));
        assert!(!has_to_give_way(&light) && !has_to_give_way(&heavy[3]));
        drop((heavy, light, answering, newcomers));
        assert_eq!(slots.held().total, 0);
        assert!(slots.held().counts.is_empty() && slots.held().addresses.is_empty());
    }

    #[test]
    fn an_address_that_has_most_gets_one_more_only_for_one_of_its_own() {
        let slots = slots(4);
        let first: Vec<Slot> = (0..2).map(|_| from(&slots, 1).ok().unwrap()).collect();
        let second: Vec<Slot> = (0..2).map(|_| from(&slots, 2).ok().unwrap()).collect();
        first
            .iter()
            .chain(&second[..1])
            .for_each(Slot::is_websocket);
        assert_eq!(from(&slots, 1).err(), Some(Refused::Heaviest));
        assert!(from(&slots, 2).is_ok());
        assert_eq!((given_up(&first), given_up(&second)), (vec![], vec![1]));
    }

    #[test]
    fn an_address_has_a_limit_within_which_the_silent_give_way() {
        let slots = slots(100);
        let take = || slots.take(Some(IpAddr::from([192, 0, 2, 1])), 2);
        let held = [take().ok().unwrap(), take().ok().unwrap()];
        drop(held[0].answering());
        let third = take().ok().unwrap();
        assert_eq!(given_up(&held), [1]);
        third.is_websocket();
        assert_eq!(take().err(), Some(Refused::Address));
        drop(held);
        assert!(take().is_ok());
    }

    #[test]
    fn connections_are_scarce_when_more_than_half_are_taken_and_never_for_a_proxy() {
        let slots = slots(4);
        let (first, proxy) = (
            from(&slots, 1).ok().unwrap(),
            slots.take(None, 1).ok().unwrap(),
        );
        assert!(!first.is_scarce());
        let third = from(&slots, 2).ok().unwrap();
        assert!(first.is_scarce() && third.is_scarce() && !proxy.is_scarce());
    }

    #[test]
    fn an_ipv6_site_is_one_address() {
        let slots = slots(100);
        let take = |ip: &str| slots.take(Some(ip.parse().unwrap()), 1);
        let held = take("2001:db8::1").ok().unwrap();
        held.is_websocket();
        assert_eq!(take("2001:db8:0:ff::1").err(), Some(Refused::Address));
        assert!(take("2001:db8:0:100::1").is_ok());
    }

    #[test]
    fn a_proxy_has_no_limit_and_whom_it_names_has_one() {
        let slots = slots(4);
        let proxied: Vec<Slot> = (0..4).map(|_| slots.take(None, 1).ok().unwrap()).collect();
        assert_eq!(slots.take(None, 1).err(), Some(Refused::Full));
        let client = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(proxied[0].is_of(client, 1), Ok(()));
        proxied[0].is_websocket();
        assert_eq!(proxied[1].is_of(client, 1), Err(Refused::Address));
        assert_eq!(proxied[1].is_of(client, 2), Ok(()));
        // From here on they can be evicted.
        assert!(slots.take(None, 1).is_ok());
        assert_eq!(given_up(&proxied), [1]);
        drop(proxied);
        assert_eq!(slots.held().total, 0);
    }
}
