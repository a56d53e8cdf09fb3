//! The TURN streams of a relay, as one of its shards sees them: those that it serves, and that there
//! are others.

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

use super::stream::{BUFFER, Known, Stream, Wire};

/// The tokens of streams count from here.
pub const FIRST_STREAM: usize = usize::MAX / 2 + 1;

/// Empty buffers that wait for the next stream that has something to write.
const SPARES: usize = 64;

/// Between two looks at who is overdue.
const PAUSE: Duration = Duration::from_secs(1);

/// The streams that a shard knows.
pub struct Streams {
    known: HashMap<u32, Entry>,
    /// Those that may have more to read.
    ready: VecDeque<u32>,
    /// Those that have something to write.
    dirty: Vec<u32>,
    spares: Vec<Vec<u8>>,
    /// What all of them read into, one after the other.
    buffer: Vec<u8>,
    /// When the next of them may be overdue.
    look: Option<Mono>,
}

struct Entry {
    route: Route,
    known: Arc<Known>,
    /// Where this shard serves it.
    own: Option<Own>,
}

struct Own {
    stream: Stream,
    /// Whether it is in `ready` and in `dirty`.
    ready: bool,
    dirty: bool,
    /// Whether the client has closed: it is to be read to the end.
    closing: bool,
}

/// What became of a message for a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    Kept,
    /// The reader is too slow for it.
    Lost,
    /// This shard has it to give.
    To(usize),
    /// There is no such stream any more.
    Gone,
}

impl Streams {
    pub fn new() -> Streams {
        Streams {
            known: HashMap::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            spares: Vec::new(),
            buffer: vec![0; BUFFER],
            look: None,
        }
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn knows(&self, stream: u32) -> bool {
        self.known.contains_key(&stream)
    }

    /// Whether some may have more to read, without anybody saying so.
    pub fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When [`Streams::overdue`] is to be asked next.
    pub fn deadline(&self) -> Option<Mono> {
        self.look
    }

    /// Learns of a stream; this shard serves it where there is a `wire`.
    pub fn open(
        &mut self,
        registry: &Registry,
        route: Route,
        known: Arc<Known>,
        wire: Option<Box<dyn Wire>>,
        now: Mono,
    ) -> io::Result<()> {
        let mut own = None;
        if let Some(wire) = wire {
            let stream = Stream::new(wire, now);
            let fd = stream.fd().as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(FIRST_STREAM + route.via as usize);
            registry.register(&mut SourceFd(&fd), token, interest)?;
            self.look_at(stream.deadline(known.is_allocated()));
            own = Some(Own {
                stream,
                // A handshake may have read more than its own.
                ready: true,
                dirty: false,
                closing: false,
            });
            self.ready.push_back(route.via);
        }
        self.known.insert(route.via, Entry { route, known, own });
        Ok(())
    }

    /// Forgets a stream. Gives its route, where it was known.
    pub fn close(&mut self, registry: &Registry, stream: u32) -> Option<Route> {
        let entry = self.known.remove(&stream)?;
        if let Some(own) = entry.own {
            let fd = own.stream.fd().as_raw_fd();
            // It is closed in a moment, and that ends it in any case.
            let _ = registry.deregister(&mut SourceFd(&fd));
        }
        Some(entry.route)
    }

    /// The poller has something to say.
    pub fn note(&mut self, event: &Event) {
        let stream = (event.token().0 - FIRST_STREAM) as u32;
        let Some(own) = self.own(stream) else {
            return;
        };
        let (dirty, ready) = (&mut own.dirty, &mut own.ready);
        let write = event.is_writable() && own.stream.is_stuck() && !mem::replace(dirty, true);
        own.closing |= event.is_read_closed() || event.is_error();
        let read = (event.is_readable() || own.closing) && !mem::replace(ready, true);
        if write {
            self.dirty.push(stream);
        }
        if read {
            self.ready.push_back(stream);
        }
    }

    /// The next stream that may have something to read, with where it is from.
    pub fn next_ready(&mut self) -> Option<(u32, Route)> {
        loop {
            let stream = self.ready.pop_front()?;
            if let Some(entry) = self.known.get_mut(&stream)
                && let Some(own) = &mut entry.own
            {
                own.ready = false;
                return Some((stream, entry.route));
            }
        }
    }

    /// The buffer that streams read into, to be given back by [`Streams::give_back`].
    pub fn take_buffer(&mut self) -> Vec<u8> {
        mem::take(&mut self.buffer)
    }

    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Reads once; see [`Stream::read`].
    pub fn read(&mut self, stream: u32, buffer: &mut [u8], now: Mono) -> io::Result<usize> {
        let Some(own) = self.own(stream) else {
            return Ok(0);
        };
        let Some((count, more)) = own.stream.read(buffer, now)? else {
            own.closing = false;
            return Ok(0);
        };
        if (more || own.closing) && !mem::replace(&mut own.ready, true) {
            self.ready.push_back(stream);
        }
        Ok(count)
    }

    /// Keeps the piece of a frame that was left over; see [`Stream::keep`].
    pub fn keep(&mut self, stream: u32, piece: &[u8]) -> io::Result<()> {
        match self.own(stream) {
            Some(own) => own.stream.keep(piece).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    /// Has a message written at the end of the turn.
    pub fn send(&mut self, stream: u32, message: &[u8], now: Mono) -> Sent {
        let Some(entry) = self.known.get_mut(&stream) else {
            return Sent::Gone;
        };
        let Some(own) = &mut entry.own else {
            return Sent::To(entry.known.home);
        };
        if own.stream.is_pressed() {
            // An error is found again at the end of the turn.
            let _ = own.stream.write(now);
        }
        let spares = &mut self.spares;
        if !own
            .stream
            .push(message, || spares.pop().unwrap_or_default())
        {
            return Sent::Lost;
        }
        if !own.stream.is_stuck() && !mem::replace(&mut own.dirty, true) {
            self.dirty.push(stream);
        }
        Sent::Kept
    }

    /// A stream's client has been given an allocation.
    pub fn has_allocation(&self, stream: u32) {
        if let Some(entry) = self.known.get(&stream) {
            entry.known.has_allocation();
        }
    }

    /// Writes everything that waits; tells which streams could not be written to.
    pub fn write(&mut self, now: Mono, mut failed: impl FnMut(u32, io::Error)) {
        let mut dirty = mem::take(&mut self.dirty);
        for stream in dirty.drain(..) {
            let Some(entry) = self.known.get_mut(&stream) else {
                continue;
            };
            let Some(own) = &mut entry.own else {
                continue;
            };
            own.dirty = false;
            match own.stream.write(now) {
                Ok(Some(spare)) if self.spares.len() < SPARES => self.spares.push(spare),
                Ok(_) => {}
                Err(error) => failed(stream, error),
            }
            if own.stream.is_stuck() {
                let deadline = own.stream.deadline(entry.known.is_allocated());
                self.look = Some(self.look.map_or(deadline, |look| look.min(deadline)));
            }
        }
        self.dirty = dirty;
    }

    /// Which streams nobody waits for any longer.
    pub fn overdue(&mut self, now: Mono) -> Vec<u32> {
        if self.look.is_none_or(|look| look > now) {
            return Vec::new();
        }
        self.look = None;
        let mut overdue = Vec::new();
        let mut next: Option<Mono> = None;
        for (stream, entry) in &self.known {
            let Some(own) = &entry.own else {
                continue;
            };
            let deadline = own.stream.deadline(entry.known.is_allocated());
            if deadline <= now {
                overdue.push(*stream);
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        self.look = next.map(|next| next.max(now + PAUSE));
        overdue
    }

    fn look_at(&mut self, deadline: Mono) {
        self.look = Some(self.look.map_or(deadline, |look| look.min(deadline)));
    }

    fn own(&mut self, stream: u32) -> Option<&mut Own> {
        self.known.get_mut(&stream)?.own.as_mut()
    }
}
