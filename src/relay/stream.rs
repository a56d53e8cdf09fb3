//! One TURN stream, as the shard that serves it sees it: whole frames in, one write for everything
//! that came of a turn. Nothing here waits, and a stream at rest has no buffer.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Mono;
use crate::ingress::StreamPermit;

use super::framer::{MAX_FRAME, NotTurn, missing};

/// Bytes that may wait for a slow reader; packets past that are lost, its own alone.
pub const MAX_QUEUED_BYTES: usize = 256 * 1024;

/// Bytes that are written before the turn is over, so that much at once is no reason to lose any.
const EARLY_WRITE_BYTES: usize = 64 * 1024;

/// Bytes read at once.
pub const READ_BYTES: usize = 32 * 1024;

/// What a stream reads into: the beginning of the longest frame may stand before what is new.
pub const READ_BUFFER_BYTES: usize = MAX_FRAME + READ_BYTES;

/// Bytes that a buffer keeps when it has nothing to hold.
const MAX_SPARE_BUFFER_BYTES: usize = 64 * 1024;

/// For a stream without an allocation: whoever connects over TCP wants one at once.
const ALLOCATION_TIMEOUT: Duration = Duration::from_secs(30);

/// A client refreshes its allocation within an hour; one that is silent for longer has lost it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3660);

/// For a reader that takes nothing at all.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a stream's bytes go through. It never blocks: it says [`io::ErrorKind::WouldBlock`].
pub trait StreamIo: Read + Write + AsFd + Send {}

impl<T: Read + Write + AsFd + Send> StreamIo for T {}

/// What all shards know of a stream. Its permit is returned when the last shard forgets it.
#[derive(Debug)]
pub struct StreamInfo {
    /// The shard that serves it.
    pub shard: usize,
    /// Whether the stream's client has been given an allocation.
    allocated: AtomicBool,
    _permit: StreamPermit,
}

pub struct Stream {
    io: Box<dyn StreamIo>,
    /// The beginning of a frame, and how many bytes it wants at least before it is looked at again.
    partial: Vec<u8>,
    wanted: usize,
    /// What waits to be written, from `written` on.
    outbound: Vec<u8>,
    written: usize,
    /// Since when the reader has taken nothing, though there is something.
    blocked_since: Option<Mono>,
    opened: Mono,
    last_read: Mono,
}

impl StreamInfo {
    pub fn new(shard: usize, permit: StreamPermit) -> StreamInfo {
        StreamInfo {
            shard,
            allocated: AtomicBool::new(false),
            _permit: permit,
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
    pub fn new(io: Box<dyn StreamIo>, now: Mono) -> Stream {
        Stream {
            io,
            partial: Vec::new(),
            wanted: 0,
            outbound: Vec::new(),
            written: 0,
            blocked_since: None,
            opened: now,
            last_read: now,
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }

    /// Reads once into `buffer`, which has [`READ_BUFFER_BYTES`] bytes, and gives how many stand at its
    /// beginning then: frames, and maybe a piece of one, to be handed back by [`Stream::keep_partial`].
    /// With it, whether there may be more to read. `None` where nothing had come.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] where the client has closed, and whatever the system says.
    pub fn read(&mut self, buffer: &mut [u8], now: Mono) -> io::Result<Option<(usize, bool)>> {
        let start = self.partial.len();
        let space = &mut buffer[start..][..READ_BYTES];
        let count = match self.io.read(space) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some((0, true))),
            Err(error) => return Err(error),
        };
        self.last_read = now;
        let more = count == READ_BYTES;
        if start + count < self.wanted {
            // A large frame that comes in crumbs is not moved for each of them.
            self.partial.extend_from_slice(&space[..count]);
            return Ok(Some((0, more)));
        }
        buffer[..start].copy_from_slice(&self.partial);
        self.partial.clear();
        if self.partial.capacity() > READ_BYTES {
            self.partial = Vec::new();
        }
        Ok(Some((start + count, more)))
    }

    /// Keeps the piece of a frame that was read.
    ///
    /// # Errors
    ///
    /// Where it can't become one.
    pub fn keep_partial(&mut self, piece: &[u8]) -> Result<(), NotTurn> {
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
    pub fn queue(&mut self, message: &[u8], spare: impl FnOnce() -> Vec<u8>) -> bool {
        let padded = message.len().next_multiple_of(4);
        if self.outbound.len() - self.written + padded > MAX_QUEUED_BYTES {
            return false;
        }
        if self.outbound.capacity() == 0 {
            self.outbound = spare();
        }
        self.reserve(padded);
        self.outbound.extend_from_slice(message);
        self.outbound
            .resize(self.outbound.len() + padded - message.len(), 0);
        true
    }

    /// What is written already is moved out of the way before the buffer grows, and it never grows
    /// past what may wait.
    fn reserve(&mut self, more: usize) {
        let (len, capacity) = (self.outbound.len(), self.outbound.capacity());
        if len + more <= capacity {
            return;
        }
        self.outbound.drain(..self.written);
        self.written = 0;
        let len = self.outbound.len();
        if len + more > capacity {
            let target = (2 * capacity).clamp(len + more, MAX_QUEUED_BYTES);
            self.outbound.reserve_exact(target - len);
        }
    }

    /// Whether so much waits that it should not wait for the end of the turn.
    pub fn should_write_early(&self) -> bool {
        self.blocked_since.is_none() && self.outbound.len() - self.written >= EARLY_WRITE_BYTES
    }

    /// Whether the reader has to take something before more can be written.
    pub fn is_blocked(&self) -> bool {
        self.blocked_since.is_some()
    }

    /// Writes what waits, as much as is taken. Gives the buffer back once it is empty.
    pub fn write(&mut self, now: Mono) -> io::Result<Option<Vec<u8>>> {
        loop {
            let rest = &self.outbound[self.written..];
            let written = match rest.is_empty() {
                // Of TLS, something may still be on its way.
                true => self.io.flush().map(|()| None),
                false => self.io.write(rest).map(Some),
            };
            match written {
                Ok(None) => break,
                Ok(Some(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Some(count)) => {
                    self.written += count;
                    self.blocked_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked_since.get_or_insert(now);
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.blocked_since = None;
        self.written = 0;
        let mut empty = std::mem::take(&mut self.outbound);
        empty.clear();
        Ok((empty.capacity() > 0 && empty.capacity() <= MAX_SPARE_BUFFER_BYTES).then_some(empty))
    }

    /// When nobody waits for this stream any longer.
    pub fn deadline(&self, allocated: bool) -> Mono {
        let silent = match allocated {
            true => self.last_read + IDLE_TIMEOUT,
            false => self.opened + ALLOCATION_TIMEOUT,
        };
        let blocked_since = self.blocked_since.map(|since| since + WRITE_TIMEOUT);
        blocked_since.map_or(silent, |blocked_since| blocked_since.min(silent))
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
    fn a_stream_without_an_allocation_times_out() {
        let (mut stream, mut client) = stream();
        // Trickled bytes and whole frames alike buy no time.
        client.write_all(&[0x40, 0, 0, 0, 0x40]).unwrap();
        let later = Mono(0) + ALLOCATION_TIMEOUT / 2;
        stream.read(&mut [0; READ_BUFFER_BYTES], later).unwrap();
        assert_eq!(stream.deadline(false), Mono(0) + ALLOCATION_TIMEOUT);
    }

    #[test]
    fn a_stream_with_an_allocation_may_be_idle_until_its_refresh_is_due() {
        let (mut stream, mut client) = stream();
        client.write_all(&frame(4)).unwrap();
        stream.read(&mut [0; READ_BUFFER_BYTES], Mono(5)).unwrap();
        assert_eq!(stream.deadline(true), Mono(5) + IDLE_TIMEOUT);
    }

    #[test]
    fn a_client_that_reads_nothing_gets_a_minute_and_256_kib() {
        let (mut stream, mut client) = stream();
        let message = frame(1_000);
        let mut kept = 0;
        while stream.queue(&message, Vec::new) {
            if stream.should_write_early() {
                stream.write(Mono(7)).unwrap();
            }
            kept += message.len();
        }
        assert!(stream.is_blocked());
        assert_eq!(stream.deadline(true), Mono(7) + WRITE_TIMEOUT);
        assert!(stream.outbound.capacity() <= MAX_QUEUED_BYTES);
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
        assert!(!stream.is_blocked());
    }

    #[test]
    fn fragmented_frames_are_reassembled_and_an_idle_stream_holds_no_buffer() {
        let (mut stream, mut client) = stream();
        let mut buffer = vec![0; READ_BUFFER_BYTES];
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
                stream.keep_partial(rest).unwrap();
            }
        }
        assert!(heard == frames);
        assert_eq!(stream.partial.capacity(), 0);
    }

    #[test]
    fn bytes_that_are_not_turn_are_rejected() {
        let (mut stream, _client) = stream();
        assert!(stream.keep_partial(b"POST").is_err());
    }
}
