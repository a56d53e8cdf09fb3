//! TURN over TCP and TLS: who is let in, and by whom a stream is served. The bytes are the shard's own
//! affair ([`super::stream`]): from here on no task stands between a stream and its shard.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::proxy_protocol::HeaderError;
use crate::rate::{self, Limit, SharedGcra};
use crate::turn::{Route, Transport};

use super::entrance::{self, Entrance, Proxies, Turned, TurnedAway};
use super::mailbox::{Command, Mailbox};
use super::stream::{StreamInfo, StreamIo};
use super::tls::TlsIo;

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
    doors: Doors,
    entrance: Arc<Entrance>,
    told_of_proxy: Arc<SharedGcra>,
    next: Arc<AtomicU32>,
}

/// What decides who is let in, and what became of the others.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    pub sources: Arc<Sources>,
    pub proxies: Arc<Proxies>,
    pub turned_away: Arc<TurnedAway>,
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
    pub fn new(shards: Arc<[Mailbox]>, doors: Doors) -> Acceptor {
        Acceptor {
            shards,
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            doors,
            entrance: Arc::default(),
            told_of_proxy: Arc::default(),
            next: Arc::default(),
        }
    }

    /// Accepts until told to stop; what comes has to speak TLS where there is a `tls`.
    pub async fn accept(
        self,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        stop: CancellationToken,
    ) {
        let told = SharedGcra::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer, tls.clone(), &stop),
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

    fn admit(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        stop: &CancellationToken,
    ) {
        let Ok(total) = self.places.clone().try_acquire_owned() else {
            return self.turn_away(peer, Turned::TooMany, "too many TURN streams");
        };
        let is_proxy = self.doors.proxies.must_name_clients(peer.ip());
        if tls.is_none() && !is_proxy {
            return self.open_plain(socket, peer, total);
        }
        let (acceptor, stop) = (self.clone(), stop.clone());
        tokio::spawn(async move {
            let waiting = acceptor.entrance.enter();
            tokio::select! {
                () = acceptor.let_in(socket, peer, is_proxy, tls, total) => {}
                () = waiting.give_way.cancelled() => {
                    acceptor.turn_away(peer, Turned::Crowded, "it gave way to others");
                }
                () = stop.cancelled() => {}
            }
        });
    }

    /// Takes a stream through the entrance.
    async fn let_in(
        &self,
        mut socket: TcpStream,
        peer: SocketAddr,
        is_proxy: bool,
        tls: Option<Arc<ServerConfig>>,
        total: OwnedSemaphorePermit,
    ) {
        let mut client = peer;
        if is_proxy {
            client = match entrance::client(&mut socket, peer).await {
                Ok(client) => client,
                Err(error) => return self.unannounced(peer, &error),
            };
        }
        let Some(config) = tls else {
            return self.open_plain(socket, client, total);
        };
        // Before the handshake, which is most of the work.
        let Some(place) = self.place(client, total) else {
            return;
        };
        let opened = async {
            let server = prepare(&socket)?;
            Ok((server, entrance::handshake(socket, config).await?))
        };
        let opened: io::Result<_> = opened.await;
        match opened {
            Ok((server, Some(io))) => self.open(io, Transport::Tls, client, server, place),
            Ok((_, None)) => tracing::debug!(%client, "an authority has looked at a challenge"),
            Err(error) => self.turn_away(client, Turned::Handshake, &error.to_string()),
        }
    }

    /// Serves a stream that came in at somebody else's door: past its handshake, where there is one.
    pub fn take(
        &self,
        socket: TcpStream,
        session: Option<Box<ServerConnection>>,
        client: SocketAddr,
    ) {
        let Ok(total) = self.places.clone().try_acquire_owned() else {
            return self.turn_away(client, Turned::TooMany, "too many TURN streams");
        };
        let Some(session) = session else {
            return self.open_plain(socket, client, total);
        };
        let Some(place) = self.place(client, total) else {
            return;
        };
        let opened = prepare(&socket).and_then(|server| Ok((server, socket.into_std()?)));
        match opened {
            Ok((server, socket)) => {
                let io = TlsIo::new(socket, *session);
                self.open(io, Transport::Tls, client, server, place);
            }
            Err(error) => tracing::debug!(%client, %error, "a TURN stream ended"),
        }
    }

    fn open_plain(&self, socket: TcpStream, client: SocketAddr, total: OwnedSemaphorePermit) {
        let Some(place) = self.place(client, total) else {
            return;
        };
        let opened = prepare(&socket).and_then(|server| Ok((server, socket.into_std()?)));
        match opened {
            Ok((server, io)) => self.open(io, Transport::Tcp, client, server, place),
            Err(error) => tracing::debug!(%client, %error, "a TURN stream ended"),
        }
    }

    /// Gives a stream to its shard. Whatever `io` is, it is past its handshake and never blocks.
    fn open(
        &self,
        io: impl StreamIo + 'static,
        transport: Transport,
        client: SocketAddr,
        server: SocketAddr,
        place: Place,
    ) {
        let stream = self.next.fetch_add(1, Ordering::Relaxed) % NUMBERS;
        let route = Route {
            transport,
            client,
            server,
            via: stream,
        };
        let home = stream as usize % self.shards.len();
        let info = Arc::new(StreamInfo::new(home, place));
        // Every shard is told: an allocation that claims a reserved port is made where the port is.
        // The stream's own is told last, so that the others know of it when it says anything.
        for (index, shard) in self.shards.iter().enumerate() {
            if index != home {
                let info = info.clone();
                shard.send(Command::StreamOpened {
                    route,
                    info,
                    io: None,
                });
            }
        }
        let io: Option<Box<dyn StreamIo>> = Some(Box::new(io));
        self.shards[home].send(Command::StreamOpened { route, info, io });
    }

    /// A place among those of the client's address, with one of all.
    fn place(&self, client: SocketAddr, total: OwnedSemaphorePermit) -> Option<Place> {
        let place = self.doors.sources.place(client.ip(), total);
        if place.is_none() {
            let why = "too many TURN streams from one address";
            self.turn_away(client, Turned::TooMany, why);
        }
        place
    }

    fn turn_away(&self, client: SocketAddr, turned: Turned, why: &str) {
        self.doors.turned_away.count(turned);
        tracing::debug!(%client, why, "a TURN stream was turned away");
    }

    /// Told seldom: a check that only connects does so every second.
    fn unannounced(&self, proxy: SocketAddr, error: &HeaderError) {
        self.turn_away(proxy, Turned::Unannounced, &error.to_string());
        let proxy = proxy.ip();
        if self
            .told_of_proxy
            .take(Limit::per_minute(), clock::now().mono, 1)
        {
            tracing::warn!(%proxy, %error, "a trusted proxy names no client of TURN");
        }
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

/// Has a socket send at once and keep little. Gives the address that was asked.
fn prepare(socket: &TcpStream) -> io::Result<SocketAddr> {
    socket.set_nodelay(true)?;
    limit_unsent(socket);
    socket.local_addr()
}

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

    fn place(self: &Arc<Self>, ip: IpAddr, total: OwnedSemaphorePermit) -> Option<Place> {
        let prefix = rate::source_prefix(ip);
        let mut held = self.held();
        let count = held.get(&prefix).copied().unwrap_or(0);
        if count >= self.max.load(Ordering::Relaxed) {
            return None;
        }
        held.insert(prefix, count + 1);
        Some(Place {
            sources: self.clone(),
            prefix,
            _total: total,
        })
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

    /// Streams of one process, and who asks for a place.
    fn place(sources: &Arc<Sources>, ip: IpAddr) -> Option<Place> {
        let total = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        sources.place(ip, total)
    }

    #[test]
    fn an_ipv6_site_is_one_source() {
        let sources = Arc::new(Sources::new(64));
        let site = |host| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]);
        let places: Vec<_> = (0..100u16)
            .map_while(|host| place(&sources, site(host)))
            .collect();
        assert_eq!(places.len(), 64);
        drop(places);
        assert!(sources.held().is_empty());
    }

    #[test]
    fn a_new_limit_counts_for_who_comes_and_ends_nobody() {
        let sources = Arc::new(Sources::new(64));
        let place = || place(&sources, IpAddr::from([192, 0, 2, 1]));
        let held: Vec<_> = (0..3).map_while(|_| place()).collect();
        sources.limit(3);
        assert!(held.len() == 3 && place().is_none());
        sources.limit(4);
        assert!(place().is_some());
    }
}
