//! TURN over TCP: one task a stream, which reads whole frames for the shard and writes what the
//! shard left for it.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::turn::{Route, Transport};

use super::framer::{MAX_FRAME, complete};
use super::mailbox::{Mail, Mailbox};

/// Bytes that may wait for a slow reader; packets past that are lost, its own alone.
const MAX_WAITING: usize = 256 * 1024;

/// Streams at once, from everybody.
const MAX_STREAMS: usize = 4096;

/// For the first message of a stream.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);

/// A client refreshes its allocation within an hour; one that is silent for longer has none.
const SILENCE: Duration = Duration::from_secs(3660);

/// For a reader that takes nothing at all.
const STUCK: Duration = Duration::from_secs(60);

const READ_SIZE: usize = 4096;

/// What the shard has for a stream.
#[derive(Default)]
pub struct Outbound {
    waiting: Mutex<Vec<u8>>,
    filled: Notify,
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

/// Accepts streams and hands their frames to a shard.
#[derive(Clone)]
pub struct Acceptor {
    mailbox: Mailbox,
    places: Arc<Semaphore>,
    sources: Arc<Sources>,
    next: Arc<AtomicU32>,
}

/// Streams of each source.
struct Sources {
    max: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// A stream's place in the counts, given back when dropped.
struct Place {
    sources: Arc<Sources>,
    ip: IpAddr,
    _total: OwnedSemaphorePermit,
}

impl Acceptor {
    pub fn new(mailbox: Mailbox, max_per_address: usize) -> Acceptor {
        Acceptor {
            mailbox,
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            sources: Arc::new(Sources {
                max: max_per_address,
                held: Mutex::default(),
            }),
            next: Arc::default(),
        }
    }

    /// Accepts until told to stop.
    pub async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, client)) => self.admit(socket, client, &stop),
                Err(error) => {
                    // Out of descriptors, most likely: waiting is all that helps.
                    tracing::warn!(%error, "a TURN stream could not be accepted");
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
        let ip = ip.to_canonical();
        let mut held = self.sources.held();
        let count = held.entry(ip).or_default();
        if *count >= self.sources.max {
            return None;
        }
        *count += 1;
        Some(Place {
            sources: self.sources.clone(),
            ip,
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
        let opened = Mail::Opened {
            route,
            outbound: outbound.clone(),
        };
        self.mailbox.send(opened).await;
        let (reader, writer) = socket.into_split();
        let result = tokio::select! {
            result = self.read(reader, stream) => result,
            result = write(writer, &outbound) => result,
        };
        self.mailbox.send(Mail::Closed { stream }).await;
        result
    }

    async fn read(&self, mut reader: impl AsyncRead + Unpin, stream: u32) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        let mut patience = FIRST_MESSAGE;
        loop {
            if buffer.capacity() - buffer.len() < READ_SIZE / 4 {
                buffer.reserve(if buffer.is_empty() {
                    READ_SIZE
                } else {
                    MAX_FRAME
                });
            }
            let read = timeout(patience, reader.read_buf(&mut buffer)).await;
            if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Ok(());
            }
            let whole = complete(&buffer).map_err(io::Error::other)?;
            if whole > 0 {
                patience = SILENCE;
                let bytes = buffer.split_to(whole);
                if !self.mailbox.send(Mail::Frames { stream, bytes }).await {
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
    fn held(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.sources.held();
        if let Some(count) = held.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.ip);
            }
        }
    }
}
