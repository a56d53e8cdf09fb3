//! The TURN streams of a relay from the view of a shard: its own with their sockets, those of other shards
//! by their number.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::clock::Mono;
use crate::turn::Route;

use super::stream::{READ_BUFFER_BYTES, Stream, StreamInfo, StreamIo};

/// The first token of streams.
pub(super) const FIRST_STREAM_TOKEN: usize = usize::MAX / 2 + 1;

/// Maximum number of empty buffers that are kept for streams with something to write.
const MAX_SPARE_BUFFERS: usize = 64;

/// Minimum time between two checks for timeouts.
const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// All streams of the relay.
pub(super) struct Streams {
    entries: HashMap<u32, Entry>,
    /// Own streams that may have more to read.
    ready: VecDeque<u32>,
    /// Own streams that have something to write.
    dirty: Vec<u32>,
    spares: Vec<Vec<u8>>,
    /// The read buffer that all streams share.
    buffer: Vec<u8>,
    /// The time of the next check for timeouts.
    next_check: Option<Mono>,
}

struct Entry {
    route: Route,
    info: Arc<StreamInfo>,
    /// The stream itself if this shard serves it.
    local: Option<LocalStream>,
}

struct LocalStream {
    stream: Stream,
    /// Whether it is in `ready`, and whether it is in `dirty`.
    ready: bool,
    dirty: bool,
    /// Whether the client has closed the stream, which is then read to the end.
    closing: bool,
}

/// The outcome of sending a message to a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    Queued,
    /// The message is lost: the client reads too slowly.
    Overflow,
    /// This other shard serves the stream.
    Remote(usize),
    /// The stream has ended.
    Closed,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams {
            entries: HashMap::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            spares: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES],
            next_check: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, stream: u32) -> bool {
        self.entries.contains_key(&stream)
    }

    /// Returns the number of a stream's connection in the log.
    pub(super) fn connection(&self, stream: u32) -> Option<u64> {
        Some(self.entries.get(&stream)?.info.connection)
    }

    /// Whether streams may have more to read that the poller does not report again.
    pub(super) fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The time at which [`Streams::timed_out`] must be called.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.next_check
    }

    /// Adds a stream. This shard serves it if there is an `io`.
    pub(super) fn open(
        &mut self,
        registry: &Registry,
        route: Route,
        info: Arc<StreamInfo>,
        io: Option<Box<dyn StreamIo>>,
        now: Mono,
    ) -> io::Result<()> {
        let mut local = None;
        if let Some(io) = io {
            let stream = Stream::new(io, now);
            let fd = stream.fd().as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(FIRST_STREAM_TOKEN + route.via as usize);
            registry.register(&mut SourceFd(&fd), token, interest)?;
            self.schedule_check(stream.deadline(info.is_allocated()));
            local = Some(LocalStream {
                stream,
                // The handshake may have read the first messages already.
                ready: true,
                dirty: false,
                closing: false,
            });
            self.ready.push_back(route.via);
        }
        self.entries.insert(route.via, Entry { route, info, local });
        Ok(())
    }

    /// Removes a stream and returns its route.
    pub(super) fn close(&mut self, registry: &Registry, stream: u32) -> Option<Route> {
        let entry = self.entries.remove(&stream)?;
        if let Some(local) = entry.local {
            let fd = local.stream.fd().as_raw_fd();
            // Closing the socket, which follows, deregisters it as well.
            let _ = registry.deregister(&mut SourceFd(&fd));
        }
        Some(entry.route)
    }

    /// Handles an event of the poller.
    pub(super) fn on_event(&mut self, event: &Event) {
        let stream = (event.token().0 - FIRST_STREAM_TOKEN) as u32;
        let Some(local) = self.local(stream) else {
            return;
        };
        let (dirty, ready) = (&mut local.dirty, &mut local.ready);
        let write = event.is_writable() && local.stream.is_blocked() && !mem::replace(dirty, true);
        local.closing |= event.is_read_closed() || event.is_error();
        let read = (event.is_readable() || local.closing) && !mem::replace(ready, true);
        if write {
            self.dirty.push(stream);
        }
        if read {
            self.ready.push_back(stream);
        }
    }

    /// The next stream that may have something to read, and its route.
    pub(super) fn next_ready(&mut self) -> Option<(u32, Route)> {
        loop {
            let stream = self.ready.pop_front()?;
            if let Some(entry) = self.entries.get_mut(&stream)
                && let Some(local) = &mut entry.local
            {
                local.ready = false;
                return Some((stream, entry.route));
            }
        }
    }

    /// Takes the read buffer, which must be returned with [`Streams::return_buffer`].
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        mem::take(&mut self.buffer)
    }

    pub(super) fn return_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Reads once; see [`Stream::read`].
    pub(super) fn read(&mut self, stream: u32, buffer: &mut [u8], now: Mono) -> io::Result<usize> {
        let Some(local) = self.local(stream) else {
            return Ok(0);
        };
        let Some((count, more)) = local.stream.read(buffer, now)? else {
            local.closing = false;
            return Ok(0);
        };
        if (more || local.closing) && !mem::replace(&mut local.ready, true) {
            self.ready.push_back(stream);
        }
        Ok(count)
    }

    /// Keeps an incomplete frame; see [`Stream::keep_partial`].
    pub(super) fn keep_partial(&mut self, stream: u32, piece: &[u8]) -> io::Result<()> {
        match self.local(stream) {
            Some(local) => local.stream.keep_partial(piece).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    /// Queues a message, which is written at the end of the tick.
    pub(super) fn send(&mut self, stream: u32, message: &[u8], now: Mono) -> SendOutcome {
        let Some(entry) = self.entries.get_mut(&stream) else {
            return SendOutcome::Closed;
        };
        let Some(local) = &mut entry.local else {
            return SendOutcome::Remote(entry.info.shard);
        };
        if local.stream.should_write_early() {
            // An error occurs again in the write at the end of the tick.
            let _ = local.stream.write(now);
        }
        let spares = &mut self.spares;
        if !local
            .stream
            .queue(message, || spares.pop().unwrap_or_default())
        {
            return SendOutcome::Overflow;
        }
        if !local.stream.is_blocked() && !mem::replace(&mut local.dirty, true) {
            self.dirty.push(stream);
        }
        SendOutcome::Queued
    }

    /// Records that the client of a stream has an allocation.
    pub(super) fn has_allocation(&self, stream: u32) {
        if let Some(entry) = self.entries.get(&stream) {
            entry.info.has_allocation();
        }
    }

    /// Writes the queued messages, and calls `failed` for each broken stream.
    pub(super) fn write(&mut self, now: Mono, mut failed: impl FnMut(u32, io::Error)) {
        let mut dirty = mem::take(&mut self.dirty);
        for stream in dirty.drain(..) {
            let Some(entry) = self.entries.get_mut(&stream) else {
                continue;
            };
            let Some(local) = &mut entry.local else {
                continue;
            };
            local.dirty = false;
            match local.stream.write(now) {
                Ok(Some(spare)) if self.spares.len() < MAX_SPARE_BUFFERS => self.spares.push(spare),
                Ok(_) => {}
                Err(error) => failed(stream, error),
            }
            if local.stream.is_blocked() {
                let deadline = local.stream.deadline(entry.info.is_allocated());
                self.next_check = Some(self.next_check.map_or(deadline, |look| look.min(deadline)));
            }
        }
        self.dirty = dirty;
    }

    /// Returns the streams that have timed out.
    pub(super) fn timed_out(&mut self, now: Mono) -> Vec<u32> {
        if self.next_check.is_none_or(|look| look > now) {
            return Vec::new();
        }
        self.next_check = None;
        let mut timed_out = Vec::new();
        let mut next: Option<Mono> = None;
        for (stream, entry) in &self.entries {
            let Some(local) = &entry.local else {
                continue;
            };
            let deadline = local.stream.deadline(entry.info.is_allocated());
            if deadline <= now {
                timed_out.push(*stream);
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        self.next_check = next.map(|next| next.max(now + MIN_CHECK_INTERVAL));
        timed_out
    }

    fn schedule_check(&mut self, deadline: Mono) {
        self.next_check = Some(self.next_check.map_or(deadline, |look| look.min(deadline)));
    }

    fn local(&mut self, stream: u32) -> Option<&mut LocalStream> {
        self.entries.get_mut(&stream)?.local.as_mut()
    }
}
