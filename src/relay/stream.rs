//! TURN over TCP: one task a stream, which reads whole frames for the shard and writes what the
//! shard left for it.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::rate::{self, Limit, SharedCell};
use crate::turn::{Route, Transport};

use super::framer::{MAX_FRAME, complete};
use super::mailbox::{Mail, Mailbox};

/// Bytes that may wait for a slow reader; packets past that are lost, its own alone.
const MAX_WAITING: usize = 256 * 1024;

/// Streams at once, from everybody.
pub const MAX_STREAMS: usize = 4096;

/// For a stream without an allocation: whoever connects over TCP wants one at once.
const UNALLOCATED: Duration = Duration::from_secs(30);

/// A client refreshes its allocation within an hour; one that is silent for longer has lost it.
const SILENCE: Duration = Duration::from_secs(3660);

/// For a reader that takes nothing at all.
const STUCK: Duration = Duration::from_secs(60);

const READ_SIZE: usize = 4096;

/// What the shard has for a stream.
#[derive(Default)]
pub struct Outbound {
    waiting: Mutex<Vec<u8>>,
    filled: Notify,
    /// Whether the stream's client has been given an allocation.
    allocated: AtomicBool,
}

impl Outbound {
    /// Adds a message, padded to a multiple of four as streams want it (RFC 8656 section 12.5).
    /// False where the reader is too slow for it.
    pub fn push(&self, message: &[u8]) -> bool {
        let mut waiting = self.waiting();
        if waiting.len() + message.len() > MAX_WAITING {
            return false;
        }
        waiting.extend_from_slice(message);
        let padded = waiting.len().next_multiple_of(4);
        waiting.resize(padded, 0);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// The client has an allocation: it may be silent for longer from now on.
    pub fn has_allocation(&self) {
        self.allocated.store(true, Ordering::Relaxed);
    }

    /// Swaps what waits for `empty`, when there is something.
    async fn take(&self, empty: &mut Vec<u8>) {
        loop {
            {
                let mut waiting = self.waiting();
                if !waiting.is_empty() {
                    mem::swap(&mut *waiting, empty);
                    return;
                }
            }
            self.filled.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<u8>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Accepts streams and hands their frames to shards, each stream's to the same one.
#[derive(Clone)]
pub struct Acceptor {
    shards: Arc<[Mailbox]>,
    places: Arc<Semaphore>,
    sources: Arc<Sources>,
    next: Arc<AtomicU32>,
}

/// Streams of each source, by its prefix.
#[derive(Default)]
pub struct Sources {
    max: AtomicUsize,
    held: Mutex<HashMap<u64, usize>>,
}

/// A stream's place in the counts, given back when dropped.
struct Place {
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
                Ok((socket, client)) => self.admit(socket, client, &stop),
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

    fn admit(&self, socket: TcpStream, client: SocketAddr, stop: &CancellationToken) {
        let Some(place) = self.place(client.ip()) else {
            tracing::debug!(%client, "too many TURN streams from one address");
            return;
        };
        let acceptor = self.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            let result = tokio::select! {
                result = acceptor.serve(socket, client) => result,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = result {
                tracing::debug!(%client, %error, "a TURN stream ended");
            }
            drop(place);
        });
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

    async fn serve(&self, socket: TcpStream, client: SocketAddr) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let stream = self.next.fetch_add(1, Ordering::Relaxed);
        let route = Route {
            transport: Transport::Tcp,
            client,
            server: socket.local_addr()?,
            via: stream,
        };
        let outbound = Arc::new(Outbound::default());
        // Every shard is told: an allocation that claims a reserved port is made where the port is.
        for shard in self.shards.iter() {
            let outbound = outbound.clone();
            shard.send(Mail::Opened { route, outbound }).await;
        }
        let (reader, writer) = socket.into_split();
        let result = tokio::select! {
            result = self.read(reader, stream, &outbound) => result,
            result = write(writer, &outbound) => result,
        };
        for shard in self.shards.iter() {
            shard.send(Mail::Closed { stream }).await;
        }
        result
    }

    async fn read(
        &self,
        mut reader: impl AsyncRead + Unpin,
        stream: u32,
        outbound: &Outbound,
    ) -> io::Result<()> {
        let shard = &self.shards[stream as usize % self.shards.len()];
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        let deadline = Instant::now() + UNALLOCATED;
        loop {
            if buffer.capacity() - buffer.len() < READ_SIZE / 4 {
                buffer.reserve(if buffer.is_empty() {
                    READ_SIZE
                } else {
                    MAX_FRAME
                });
            }
            let patience = match outbound.allocated.load(Ordering::Relaxed) {
                true => Instant::now() + SILENCE,
                false => deadline,
            };
            let read = timeout_at(patience, reader.read_buf(&mut buffer)).await;
            if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Ok(());
            }
            let whole = complete(&buffer).map_err(io::Error::other)?;
            if whole > 0 {
                let bytes = buffer.split_to(whole);
                if !shard.send(Mail::Frames { stream, bytes }).await {
                    return Ok(());
                }
            }
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, outbound: &Outbound) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        outbound.take(&mut batch).await;
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let written = timeout(STUCK, writer.write(rest)).await;
            rest = &rest[written.map_err(|_| io::ErrorKind::TimedOut)??..];
        }
        batch.clear();
    }
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

    async fn ends_after(allocated: bool) -> Duration {
        let (acceptor, _poll, _inbox) = acceptor();
        let (mut client, server) = tokio::io::duplex(4096);
        let outbound = Outbound::default();
        if allocated {
            outbound.has_allocation();
        }
        let start = Instant::now();
        // Trickled bytes and whole frames alike buy no time.
        client.write_all(&[0x40, 0, 0, 0, 0x40]).await.unwrap();
        let error = acceptor.read(server, 0, &outbound).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_an_allocation_does_not_stay() {
        assert_eq!(ends_after(false).await, UNALLOCATED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_with_an_allocation_may_be_silent_until_the_next_refresh_is_due() {
        assert_eq!(ends_after(true).await, SILENCE);
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
