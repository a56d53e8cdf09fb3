//! One TURN stream, as the shard that serves it sees it: whole frames in, one write for everything
//! that came of a turn. Nothing here waits, and a stream at rest has no buffer.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Mono;

use super::acceptor::Place;
use super::framer::{MAX_FRAME, NotTurn, missing};

/// Bytes that may wait for a slow reader; packets past that are lost, its own alone.
pub const MAX_WAITING: usize = 256 * 1024;

/// Bytes that are written before the turn is over, so that much at once is no reason to lose any.
const WRITE_AT: usize = 64 * 1024;

/// Bytes read at once.
pub const READ: usize = 32 * 1024;

/// What a stream reads into: the beginning of the longest frame may stand before what is new.
pub const BUFFER: usize = MAX_FRAME + READ;

/// Bytes that a buffer keeps when it has nothing to hold.
const KEPT: usize = 64 * 1024;

/// For a stream without an allocation: whoever connects over TCP wants one at once.
const UNALLOCATED: Duration = Duration::from_secs(30);

/// A client refreshes its allocation within an hour; one that is silent for longer has lost it.
const SILENCE: Duration = Duration::from_secs(3660);

/// For a reader that takes nothing at all.
const STUCK: Duration = Duration::from_secs(60);

/// What a stream's bytes go through. It never blocks: it says [`io::ErrorKind::WouldBlock`].
pub trait Wire: Read + Write + AsFd + Send {}

impl<T: Read + Write + AsFd + Send> Wire for T {}

/// What all shards know of a stream. Its place is given back when the last has forgotten it.
#[derive(Debug)]
pub struct Known {
    /// The shard that serves it.
    pub home: usize,
    /// Whether the stream's client has been given an allocation.
    allocated: AtomicBool,
    _place: Place,
}

pub struct Stream {
    wire: Box<dyn Wire>,
    /// The beginning of a frame, and how many bytes it wants at least before it is looked at again.
    partial: Vec<u8>,
    wanted: usize,
    /// What waits to be written, from `written` on.
    outbound: Vec<u8>,
    written: usize,
    /// Since when the reader has taken nothing, though there is something.
    stuck: Option<Mono>,
    opened: Mono,
    heard: Mono,
}

impl Known {
    pub fn new(home: usize, place: Place) -> Known {
        Known {
            home,
            allocated: AtomicBool::new(false),
            _place: place,
        }
    }

    /// The client has an allocation: it may be silent for longer from now on.
    pub fn has_allocation(&self) {
        self.allocated.store(true, Ordering::Relaxed);
    }

    pub fn is_allocated(&self) -> bool {
        self.allocated.load(Ordering::Relaxed)
    }
}

impl Stream {
    pub fn new(wire: Box<dyn Wire>, now: Mono) -> Stream {
        Stream {
            wire,
            partial: Vec::new(),
            wanted: 0,
            outbound: Vec::new(),
            written: 0,
            stuck: None,
            opened: now,
            heard: now,
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }

    /// Reads once into `buffer`, which has [`BUFFER`] bytes, and gives how many stand at its
    /// beginning then: frames, and maybe a piece of one, to be handed back by [`Stream::keep`].
    /// With it, whether there may be more to read. `None` where nothing had come.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] where the client has closed, and whatever the system says.
    pub fn read(&mut self, buffer: &mut [u8], now: Mono) -> io::Result<Option<(usize, bool)>> {
        let start = self.partial.len();
        let space = &mut buffer[start..][..READ];
        let count = match self.wire.read(space) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some((0, true))),
            Err(error) => return Err(error),
        };
        self.heard = now;
        let more = count == READ;
        if start + count < self.wanted {
            // A large frame that comes in crumbs is not moved for each of them.
            self.partial.extend_from_slice(&space[..count]);
            return Ok(Some((0, more)));
        }
        buffer[..start].copy_from_slice(&self.partial);
        self.partial.clear();
        if self.partial.capacity() > READ {
            self.partial = Vec::new();
        }
        Ok(Some((start + count, more)))
    }

    /// Keeps the piece of a frame that was read.
    ///
    /// # Errors
    ///
    /// Where it can't become one.
    pub fn keep(&mut self, piece: &[u8]) -> Result<(), NotTurn> {
        self.wanted = piece.len() + missing(piece)?;
        match piece.is_empty() {
            // At rest it holds nothing.
            true => self.partial = Vec::new(),
            false => self.partial.extend_from_slice(piece),
        }
        Ok(())
    }

    /// Adds a message, padded to a multiple of four as streams want it (RFC 8656 section 12.5), to
    /// what is written at the end of the turn. `spare` gives an empty buffer to a stream that has
    /// none. False where the reader is too slow for it.
    pub fn push(&mut self, message: &[u8], spare: impl FnOnce() -> Vec<u8>) -> bool {
        let padded = message.len().next_multiple_of(4);
        if self.outbound.len() - self.written + padded > MAX_WAITING {
            return false;
        }
        if self.outbound.capacity() == 0 {
            self.outbound = spare();
        }
        self.make_room(padded);
        self.outbound.extend_from_slice(message);
        self.outbound
            .resize(self.outbound.len() + padded - message.len(), 0);
        true
    }

    /// What is written already is moved out of the way before the buffer grows, and it never grows
    /// past what may wait.
    fn make_room(&mut self, more: usize) {
        let (len, capacity) = (self.outbound.len(), self.outbound.capacity());
        if len + more <= capacity {
            return;
        }
        self.outbound.drain(..self.written);
        self.written = 0;
        let len = self.outbound.len();
        if len + more > capacity {
            let target = (2 * capacity).clamp(len + more, MAX_WAITING);
            self.outbound.reserve_exact(target - len);
        }
    }

    /// Whether so much waits that it should not wait for the end of the turn.
    pub fn is_pressed(&self) -> bool {
        self.stuck.is_none() && self.outbound.len() - self.written >= WRITE_AT
    }

    /// Whether the reader has to take something before more can be written.
    pub fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// Writes what waits, as much as is taken. Gives the buffer back once it is empty.
    pub fn write(&mut self, now: Mono) -> io::Result<Option<Vec<u8>>> {
        loop {
            let rest = &self.outbound[self.written..];
            let written = match rest.is_empty() {
                // Of TLS, something may still be on its way.
                true => self.wire.flush().map(|()| None),
                false => self.wire.write(rest).map(Some),
            };
            match written {
                Ok(None) => break,
                Ok(Some(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Some(count)) => {
                    self.written += count;
                    self.stuck = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck.get_or_insert(now);
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.stuck = None;
        self.written = 0;
        let mut empty = std::mem::take(&mut self.outbound);
        empty.clear();
        Ok((empty.capacity() > 0 && empty.capacity() <= KEPT).then_some(empty))
    }

    /// When nobody waits for this stream any longer.
    pub fn deadline(&self, allocated: bool) -> Mono {
        let silent = match allocated {
            true => self.heard + SILENCE,
            false => self.opened + UNALLOCATED,
        };
        let stuck = self.stuck.map(|since| since + STUCK);
        stuck.map_or(silent, |stuck| stuck.min(silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// A stream and its client.
    fn stream() -> (Stream, UnixStream) {
        let (server, client) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        (Stream::new(Box::new(server), Mono(0)), client)
    }

    /// ChannelData with a payload of so many bytes.
    fn frame(payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x40, 0];
        bytes.extend((payload as u16).to_be_bytes());
        bytes.resize(4 + payload, 7);
        bytes
    }

    #[test]
    fn a_stream_without_an_allocation_does_not_stay() {
        let (mut stream, mut client) = stream();
        // Trickled bytes and whole frames alike buy no time.
        client.write_all(&[0x40, 0, 0, 0, 0x40]).unwrap();
        let later = Mono(0) + UNALLOCATED / 2;
        stream.read(&mut [0; BUFFER], later).unwrap();
        assert_eq!(stream.deadline(false), Mono(0) + UNALLOCATED);
    }

    #[test]
    fn a_stream_with_an_allocation_may_be_silent_until_the_next_refresh_is_due() {
        let (mut stream, mut client) = stream();
        client.write_all(&frame(4)).unwrap();
        stream.read(&mut [0; BUFFER], Mono(5)).unwrap();
        assert_eq!(stream.deadline(true), Mono(5) + SILENCE);
    }

    #[test]
    fn a_reader_that_takes_nothing_has_a_minute_and_256_kib() {
        let (mut stream, mut client) = stream();
        let message = frame(1_000);
        let mut kept = 0;
        while stream.push(&message, Vec::new) {
            if stream.is_pressed() {
                stream.write(Mono(7)).unwrap();
            }
            kept += message.len();
        }
        assert!(stream.is_stuck());
        assert_eq!(stream.deadline(true), Mono(7) + STUCK);
        assert!(stream.outbound.capacity() <= MAX_WAITING);
        // What waits arrives whole once it is read, and the stream holds nothing then.
        let mut heard = Vec::new();
        let mut buffer = vec![0; 100_000];
        while heard.len() < kept {
            while let Ok(count) = client.read(&mut buffer) {
                heard.extend_from_slice(&buffer[..count]);
            }
            stream.write(Mono(8)).unwrap();
        }
        assert!(heard == message.repeat(kept / message.len()));
        assert_eq!(stream.outbound.capacity(), 0);
        assert!(!stream.is_stuck());
    }

    #[test]
    fn frames_in_crumbs_come_out_whole_and_a_stream_at_rest_holds_nothing() {
        let (mut stream, mut client) = stream();
        let mut buffer = vec![0; BUFFER];
        let frames = [frame(0), frame(60_000), frame(8)].concat();
        let mut heard = Vec::new();
        for crumb in frames.chunks(7) {
            client.write_all(crumb).unwrap();
            let (count, _) = stream.read(&mut buffer, Mono(0)).unwrap().unwrap();
            let mut rest = &buffer[..count];
            while let Some(frame) = super::super::framer::next_frame(rest).unwrap() {
                heard.extend_from_slice(&rest[..frame.padded]);
                rest = &rest[frame.padded..];
            }
            if count > 0 {
                stream.keep(rest).unwrap();
            }
        }
        assert!(heard == frames);
        assert_eq!(stream.partial.capacity(), 0);
    }

    #[test]
    fn what_is_not_turn_is_not_kept() {
        let (mut stream, _client) = stream();
        assert!(stream.keep(b"POST").is_err());
    }
}
