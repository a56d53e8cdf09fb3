//! Limits of HTTP connections: in total and per address. At a limit, a new connection may evict an
//! existing one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use super::limits::Limits;
use super::permits::ConnectionAdmission;
use super::reject::RejectReason;
use crate::rate;

/// Every open connection of a server.
pub struct ConnectionLimit {
    max: usize,
    state: Mutex<State>,
    /// Notified of each permit that becomes free.
    released: Notify,
    connections: Gauge,
}

#[derive(Default)]
struct State {
    total: usize,
    /// The number of the next connection: an older one has a lower number.
    next: u64,
    /// Connections of each address, by its prefix, the oldest first.
    addresses: HashMap<u64, BTreeMap<u64, Arc<Activity>>>,
    /// The addresses, sorted by their number of connections.
    counts: BTreeSet<(usize, u64)>,
}

/// The current use of a connection.
#[derive(Default)]
struct Activity {
    /// Requests in progress.
    requests: AtomicU32,
    /// Whether the connection has had a request.
    had_request: AtomicBool,
    websocket: AtomicBool,
    evicted: Notify,
}

/// The value of a connection; the connection with the lowest value is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    /// No request has arrived yet.
    NoRequest,
    /// All requests have been answered.
    Idle,
    Busy,
    WebSocket,
}

/// The reason why a connection gets no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AcquireError {
    /// The address has reached the limit per address.
    AddressLimit,
    /// All permits are taken, and no address has more than this one.
    LargestShare,
    /// All permits are taken, each by another address: wait until a permit is free.
    Full,
}

/// A connection's permit; freed when the last clone is dropped.
#[derive(Clone)]
pub struct ConnectionPermit(Arc<Open>);

struct Open {
    limit: Arc<ConnectionLimit>,
    number: u64,
    activity: Arc<Activity>,
    /// The prefix of the client's address; `None` if the connection counts for no address.
    address: Mutex<Option<u64>>,
}

/// A request in progress.
pub struct RequestGuard(ConnectionPermit);

impl ConnectionLimit {
    pub fn new(max: usize, connections: Gauge) -> Arc<ConnectionLimit> {
        Arc::new(ConnectionLimit {
            max,
            state: Mutex::default(),
            released: Notify::new(),
            connections,
        })
    }

    /// Takes a permit for a connection of `client`, which may have `max_per_address`. With `None` the
    /// connection counts for no address, and is never evicted.
    fn take(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        max_per_address: usize,
    ) -> Result<ConnectionPermit, AcquireError> {
        let address = client.map(rate::source_prefix);
        let activity = Arc::new(Activity::default());
        let mut state = self.state();
        if let Some(address) = address {
            state.admit(address, max_per_address)?;
        }
        if state.total >= self.max {
            state.evict_for(address)?;
        }
        let number = state.next;
        state.next += 1;
        state.total += 1;
        if let Some(address) = address {
            state.add(address, number, activity.clone());
        }
        drop(state);
        self.connections.inc();
        let open = Open {
            limit: self.clone(),
            number,
            activity,
            address: Mutex::new(address),
        };
        Ok(ConnectionPermit(Arc::new(open)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionAdmission for Arc<ConnectionLimit> {
    type Permit = ConnectionPermit;

    fn admit(
        &self,
        peer: IpAddr,
        limits: &Limits,
    ) -> Result<Option<ConnectionPermit>, RejectReason> {
        // A proxy has connections of many clients.
        let client = (!limits.is_proxy(peer)).then_some(peer);
        match self.take(client, limits.max_per_source) {
            Ok(permit) => Ok(Some(permit)),
            Err(AcquireError::Full) => Ok(None),
            Err(AcquireError::LargestShare) => Err(RejectReason::TotalLimit),
            Err(AcquireError::AddressLimit) => Err(RejectReason::SourceLimit),
        }
    }

    async fn released(&self) {
        self.released.notified().await;
    }

    fn evicted(&self, permit: &mut ConnectionPermit) -> impl Future<Output = ()> + Send + 'static {
        let permit = permit.clone();
        async move { permit.evicted().await }
    }

    fn assign(
        &self,
        permit: &mut ConnectionPermit,
        peer: IpAddr,
        client: IpAddr,
        limits: &Limits,
    ) -> Result<(), RejectReason> {
        if client == peer {
            return Ok(());
        }
        let assigned = permit.assign_address(client, limits.max_per_source);
        assigned.map_err(|_| RejectReason::SourceLimit)
    }
}

impl State {
    fn count(&self, address: u64) -> usize {
        self.addresses.get(&address).map_or(0, BTreeMap::len)
    }

    /// Whether an address may have one more connection. At its limit, one of its own connections
    /// without a request is evicted.
    fn admit(&mut self, address: u64, max_per_address: usize) -> Result<(), AcquireError> {
        let has_room = self.count(address) < max_per_address;
        if has_room || self.evict(address, Priority::NoRequest) {
            Ok(())
        } else {
            Err(AcquireError::AddressLimit)
        }
    }

    /// All permits are taken: evicts a connection of the address with the most.
    fn evict_for(&mut self, new_address: Option<u64>) -> Result<(), AcquireError> {
        let own = new_address.map_or(0, |address| self.count(address));
        let Some(&(most, largest)) = self.counts.last() else {
            return Err(AcquireError::Full);
        };
        let made = match new_address {
            // The new connection's address would have as many: evict only connections without a request.
            Some(address) if own + 1 >= most => self.evict(address, Priority::Idle),
            _ => most > 1 && self.evict(largest, Priority::WebSocket),
        };
        match made {
            true => Ok(()),
            false if own > 0 => Err(AcquireError::LargestShare),
            false => Err(AcquireError::Full),
        }
    }

    /// Evicts the connection of `address` with the lowest value, the oldest of equals; none with a
    /// value above `most`.
    fn evict(&mut self, address: u64, most: Priority) -> bool {
        let Some(connections) = self.addresses.get(&address) else {
            return false;
        };
        let least = connections
            .iter()
            .min_by_key(|(_, activity)| activity.priority());
        let Some((&number, activity)) = least.filter(|(_, activity)| activity.priority() <= most)
        else {
            return false;
        };
        // The connection may or may not wait for this already.
        activity.evicted.notify_one();
        self.remove(address, number);
        true
    }

    fn add(&mut self, address: u64, number: u64, activity: Arc<Activity>) {
        let connections = self.addresses.entry(address).or_default();
        self.counts.remove(&(connections.len(), address));
        connections.insert(number, activity);
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

impl Activity {
    fn priority(&self) -> Priority {
        if self.websocket.load(Ordering::Relaxed) {
            Priority::WebSocket
        } else if self.requests.load(Ordering::Relaxed) > 0 {
            Priority::Busy
        } else if self.had_request.load(Ordering::Relaxed) {
            Priority::Idle
        } else {
            Priority::NoRequest
        }
    }
}

impl ConnectionPermit {
    /// A proxy has named the client of this connection: the connection counts for that address now.
    fn assign_address(&self, client: IpAddr, max_per_address: usize) -> Result<(), AcquireError> {
        let (open, address) = (&self.0, rate::source_prefix(client));
        let mut state = open.limit.state();
        state.admit(address, max_per_address)?;
        let mut own = open.address.lock().unwrap_or_else(PoisonError::into_inner);
        match *own {
            Some(earlier) => state.remove(earlier, open.number),
            None => state.total -= 1,
        }
        state.total += 1;
        state.add(address, open.number, open.activity.clone());
        *own = Some(address);
        Ok(())
    }

    /// Records the start of a request.
    pub fn begin_request(&self) -> RequestGuard {
        let activity = &self.0.activity;
        activity.had_request.store(true, Ordering::Relaxed);
        activity.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard(self.clone())
    }

    /// Whether half of all permits are taken: idle connections are closed then. Proxies keep theirs.
    pub fn is_scarce(&self) -> bool {
        let address = self.0.address.lock();
        let is_client = address.unwrap_or_else(PoisonError::into_inner).is_some();
        is_client && 2 * self.0.limit.state().total > self.0.limit.max
    }

    /// Records that the connection has become a WebSocket.
    pub fn set_websocket(&self) {
        self.0.activity.websocket.store(true, Ordering::Relaxed);
    }

    /// Waits until this connection is evicted.
    pub async fn evicted(&self) {
        self.0.activity.evicted.notified().await;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let activity = &self.0.0.activity;
        activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.limit.state();
        match *self
            .address
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Some(address) => state.remove(address, self.number),
            None => state.total -= 1,
        }
        drop(state);
        self.limit.connections.dec();
        self.limit.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(max: usize) -> Arc<ConnectionLimit> {
        ConnectionLimit::new(max, Gauge::default())
    }

    fn from(limit: &Arc<ConnectionLimit>, last: u8) -> Result<ConnectionPermit, AcquireError> {
        limit.take(Some(IpAddr::from([192, 0, 2, last])), 100)
    }

    fn is_evicted(permit: &ConnectionPermit) -> bool {
        let waiting = std::pin::pin!(permit.evicted());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        waiting.poll(&mut context).is_ready()
    }

    fn evicted_indices(limit: &[ConnectionPermit]) -> Vec<usize> {
        let evicted = |(number, permit)| is_evicted(permit).then_some(number);
        limit.iter().enumerate().filter_map(evicted).collect()
    }

    #[test]
    fn a_connection_of_the_address_with_most_is_evicted_for_another_address() {
        let limit = limit(10);
        let heavy: Vec<ConnectionPermit> = (0..9).map(|_| from(&limit, 1).ok().unwrap()).collect();
        let light = from(&limit, 2).ok().unwrap();
        // A higher value than the next ones; the last has sent no request.
        heavy[..4].iter().for_each(ConnectionPermit::set_websocket);
        let requests: Vec<_> = heavy[4..6]
            .iter()
            .map(ConnectionPermit::begin_request)
            .collect();
        drop(
            heavy[6..8]
                .iter()
                .map(ConnectionPermit::begin_request)
                .collect::<Vec<_>>(),
        );
        let mut newcomers = Vec::new();
        let mut order = Vec::new();
        for last in 3..12 {
            newcomers.push(from(&limit, last));
            order.extend(evicted_indices(&heavy));
        }
        assert_eq!(order, [8, 6, 7, 4, 5, 0, 1, 2]);
        // Each address has one connection.
        assert!(newcomers[..8].iter().all(Result::is_ok));
        assert_eq!(newcomers[8].as_ref().err(), Some(&AcquireError::Full));
        assert!(!is_evicted(&light) && !is_evicted(&heavy[3]));
        drop((heavy, light, requests, newcomers));
        assert_eq!(limit.state().total, 0);
        assert!(limit.state().counts.is_empty() && limit.state().addresses.is_empty());
    }

    #[test]
    fn an_address_with_most_connections_replaces_one_of_its_own() {
        let limit = limit(4);
        let first: Vec<ConnectionPermit> = (0..2).map(|_| from(&limit, 1).ok().unwrap()).collect();
        let second: Vec<ConnectionPermit> = (0..2).map(|_| from(&limit, 2).ok().unwrap()).collect();
        first
            .iter()
            .chain(&second[..1])
            .for_each(ConnectionPermit::set_websocket);
        assert_eq!(from(&limit, 1).err(), Some(AcquireError::LargestShare));
        assert!(from(&limit, 2).is_ok());
        assert_eq!(
            (evicted_indices(&first), evicted_indices(&second)),
            (vec![], vec![1])
        );
    }

    #[test]
    fn at_the_limit_per_address_a_connection_without_a_request_is_evicted() {
        let limit = limit(100);
        let take = || limit.take(Some(IpAddr::from([192, 0, 2, 1])), 2);
        let held = [take().ok().unwrap(), take().ok().unwrap()];
        drop(held[0].begin_request());
        let third = take().ok().unwrap();
        assert_eq!(evicted_indices(&held), [1]);
        third.set_websocket();
        assert_eq!(take().err(), Some(AcquireError::AddressLimit));
        drop(held);
        assert!(take().is_ok());
    }

    #[test]
    fn connections_are_scarce_above_half_of_the_limit_but_never_for_a_proxy() {
        let limit = limit(4);
        let (first, proxy) = (
            from(&limit, 1).ok().unwrap(),
            limit.take(None, 1).ok().unwrap(),
        );
        assert!(!first.is_scarce());
        let third = from(&limit, 2).ok().unwrap();
        assert!(first.is_scarce() && third.is_scarce() && !proxy.is_scarce());
    }

    #[test]
    fn the_connections_of_an_ipv6_site_count_for_one_address() {
        let limit = limit(100);
        let take = |ip: &str| limit.take(Some(ip.parse().unwrap()), 1);
        let held = take("2001:db8::1").ok().unwrap();
        held.set_websocket();
        assert_eq!(
            take("2001:db8:0:ff::1").err(),
            Some(AcquireError::AddressLimit)
        );
        assert!(take("2001:db8:0:100::1").is_ok());
    }

    #[test]
    fn a_proxy_has_no_limit_but_its_clients_have_one() {
        let limit = limit(4);
        let proxied: Vec<ConnectionPermit> =
            (0..4).map(|_| limit.take(None, 1).ok().unwrap()).collect();
        assert_eq!(limit.take(None, 1).err(), Some(AcquireError::Full));
        let client = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(proxied[0].assign_address(client, 1), Ok(()));
        proxied[0].set_websocket();
        assert_eq!(
            proxied[1].assign_address(client, 1),
            Err(AcquireError::AddressLimit)
        );
        assert_eq!(proxied[1].assign_address(client, 2), Ok(()));
        // From here on they can be evicted.
        assert!(limit.take(None, 1).is_ok());
        assert_eq!(evicted_indices(&proxied), [1]);
        drop(proxied);
        assert_eq!(limit.state().total, 0);
    }
}
