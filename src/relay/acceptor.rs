//! TURN over TCP: who is let in, and by whom a stream is served. The bytes are the shard's own
//! affair ([`super::stream`]): from here on no task stands between a stream and its shard.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::rate::{self, Limit, SharedCell};
use crate::turn::{Route, Transport};

use super::mailbox::{Mailbox, Order};
use super::stream::{Known, Wire};

/// Streams at once, from everybody.
pub const MAX_STREAMS: usize = 4096;

/// Bytes that the kernel may hold for a stream and has not sent.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// Numbers of streams stay below this: pollers know them by it.
const NUMBERS: u32 = 1 << 30;

/// Accepts streams and gives each to a shard.
#[derive(Clone)]
pub struct Acceptor {
    shards: Arc<[Mailbox]>,
    places: Arc<Semaphore>,
    sources: Arc<Sources>,
    next: Arc<AtomicU32>,
}

/// Streams of each source, by its prefix.
#[derive(Debug, Default)]
pub struct Sources {
    max: AtomicUsize,
    held: Mutex<HashMap<u64, usize>>,
}

/// A stream's place in the counts, given back when dropped.
#[derive(Debug)]
pub struct Place {
    sources: Arc<Sources>,
    prefix: u64,
    _total: OwnedSemaphorePermit,
}

impl Acceptor {
    pub fn new(shards: Arc<[Mailbox]>, sources: Arc<Sources>) -> Acceptor {
        Acceptor {
            shards,
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            sources,
            next: Arc::default(),
        }
    }

    /// Accepts until told to stop.
    pub async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        let told = SharedCell::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, client)) => self.admit(socket, client),
                Err(error) => {
                    // Out of descriptors, most likely: waiting is all that helps.
                    if told.take(Limit::per_minute(), clock::now().mono, 1) {
                        tracing::warn!(%error, "a TURN stream could not be accepted");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, client: SocketAddr) {
        let Some(place) = self.place(client.ip()) else {
            tracing::debug!(%client, "too many TURN streams from one address");
            return;
        };
        let opened = socket.local_addr().and_then(|server| {
            socket.set_nodelay(true)?;
            limit_unsent(&socket);
            Ok((server, socket.into_std()?))
        });
        match opened {
            Ok((server, wire)) => self.open(wire, client, server, place),
            Err(error) => tracing::debug!(%client, %error, "a TURN stream ended"),
        }
    }

    /// Gives a stream to its shard. Whatever `wire` is, it is past its handshake and never blocks.
    fn open(
        &self,
        wire: impl Wire + 'static,
        client: SocketAddr,
        server: SocketAddr,
        place: Place,
    ) {
        let stream = self.next.fetch_add(1, Ordering::Relaxed) % NUMBERS;
        let route = Route {
            transport: Transport::Tcp,
            client,
            server,
            via: stream,
        };
        let home = stream as usize % self.shards.len();
        let known = Arc::new(Known::new(home, place));
        // Every shard is told: an allocation that claims a reserved port is made where the port is.
        // The stream's own is told last, so that the others know of it when it says anything.
        for (index, shard) in self.shards.iter().enumerate() {
            if index != home {
                let known = known.clone();
                shard.order(Order::StreamOpened {
                    route,
                    known,
                    wire: None,
                });
            }
        }
        let wire: Option<Box<dyn Wire>> = Some(Box::new(wire));
        self.shards[home].order(Order::StreamOpened { route, known, wire });
    }

    fn place(&self, ip: IpAddr) -> Option<Place> {
        let total = self.places.clone().try_acquire_owned().ok()?;
        let prefix = rate::prefix(ip);
        let mut held = self.sources.held();
        let count = held.get(&prefix).copied().unwrap_or(0);
        if count >= self.sources.max.load(Ordering::Relaxed) {
            return None;
        }
        held.insert(prefix, count + 1);
        Some(Place {
            sources: self.sources.clone(),
            prefix,
            _total: total,
        })
    }
}

/// Has the kernel keep little for a reader that is slow: by default it would take megabytes, seconds
/// of a call that are late by then.
#[cfg(target_os = "linux")]
fn limit_unsent(socket: &TcpStream) {
    // Where it can't, a slow reader is only served worse.
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(UNSENT);
}

#[cfg(not(target_os = "linux"))]
fn limit_unsent(_: &TcpStream) {}

impl Sources {
    /// At most `max` streams from one address.
    pub fn new(max: usize) -> Sources {
        Sources {
            max: AtomicUsize::new(max),
            held: Mutex::default(),
        }
    }

    /// Changes what is let in from now on; who is there may stay.
    pub fn limit(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.sources.held();
        if let Some(count) = held.get_mut(&self.prefix) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::mailbox::mailbox;

    /// An acceptor whose shard is nobody; the poll keeps its waker alive.
    fn acceptor() -> (Acceptor, mio::Poll, crate::relay::mailbox::Inbox) {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (mailbox, inbox) = mailbox(waker);
        let sources = Arc::new(Sources::new(64));
        (Acceptor::new(Arc::new([mailbox]), sources), poll, inbox)
    }

    #[tokio::test]
    async fn an_ipv6_site_is_one_source() {
        let (acceptor, _poll, _inbox) = acceptor();
        let places: Vec<_> = (0..100u16)
            .map_while(|host| acceptor.place(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host])))
            .collect();
        assert_eq!(places.len(), 64);
        drop(places);
        assert!(acceptor.sources.held().is_empty());
    }

    #[tokio::test]
    async fn a_new_limit_counts_for_who_comes_and_ends_nobody() {
        let (acceptor, _poll, _inbox) = acceptor();
        let place = || acceptor.place(IpAddr::from([192, 0, 2, 1]));
        let held: Vec<_> = (0..3).map_while(|_| place()).collect();
        acceptor.sources.limit(3);
        assert!(held.len() == 3 && place().is_none());
        acceptor.sources.limit(4);
        assert!(place().is_some());
    }
}
