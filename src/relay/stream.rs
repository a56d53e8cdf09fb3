//! A TURN stream over TCP or TLS: complete frames in, and one write for all results of a tick. Nothing
//! blocks, and an idle stream has no buffers.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Mono;
use crate::ingress::StreamPermit;

use super::framer::{MAX_FRAME, NotTurn, missing};

/// Maximum number of bytes queued for a slow client. Further packets for this client are lost.
pub(super) const MAX_QUEUED_BYTES: usize = 256 * 1024;

/// Queued bytes that are written before the end of the tick, so that a burst does not overflow the queue.
const EARLY_WRITE_BYTES: usize = 64 * 1024;

/// Maximum number of bytes of one read.
pub(super) const READ_BYTES: usize = 32 * 1024;

/// Size of the read buffer: the start of the longest frame may precede the new bytes.
pub(super) const READ_BUFFER_BYTES: usize = MAX_FRAME + READ_BYTES;

/// Maximum size of an empty buffer that is kept for other streams.
const MAX_SPARE_BUFFER_BYTES: usize = 64 * 1024;

/// Timeout for a stream without an allocation. A TURN client allocates at once.
const ALLOCATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout for an idle stream with an allocation. An allocation lasts at most an hour without a refresh.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3660);

/// Timeout for a client that reads nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A nonblocking byte stream: instead of blocking, it returns [`io::ErrorKind::WouldBlock`].
pub(super) trait StreamIo: Read + Write + AsFd + Send {}

impl<T: Read + Write + AsFd + Send> StreamIo for T {}

/// The part of a stream that all shards share. The permit is released when the last shard has removed the stream.
#[derive(Debug)]
pub(super) struct StreamInfo {
    /// The shard that serves it.
    pub shard: usize,
    /// The number of the connection in the log.
    pub connection: u64,
    /// Whether the client has an allocation.
    allocated: AtomicBool,
    _permit: StreamPermit,
}

pub(super) struct Stream {
    io: Box<dyn StreamIo>,
    /// The start of an incomplete frame, and the minimum length at which it is parsed again.
    partial: Vec<u8>,
    wanted: usize,
    /// Queued bytes. Those before `written` have been written.
    outbound: Vec<u8>,
    written: usize,
    /// The time since which the client reads nothing although bytes are queued.
    blocked_since: Option<Mono>,
    opened: Mono,
    last_read: Mono,
}

impl StreamInfo {
    pub(super) fn new(shard: usize, connection: u64, permit: StreamPermit) -> StreamInfo {
        StreamInfo {
            shard,
            connection,
            allocated: AtomicBool::new(false),
            _permit: permit,
        }
    }

    /// Records that the client has an allocation, which extends its idle timeout.
    pub(super) fn has_allocation(&self) {
        self.allocated.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_allocated(&self) -> bool {
        self.allocated.load(Ordering::Relaxed)
    }
}

impl Stream {
    pub(super) fn new(io: Box<dyn StreamIo>, now: Mono) -> Stream {
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

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }

    /// Reads once into `buffer`, which has [`READ_BUFFER_BYTES`] bytes. Returns the number of bytes at the start
    /// of the buffer, and whether more may be pending; `None` if nothing was pending. The bytes are frames; an
    /// incomplete frame at the end must be returned with [`Stream::keep_partial`].
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] if the client has closed the stream, and errors of the system.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        now: Mono,
    ) -> io::Result<Option<(usize, bool)>> {
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
            // The frame is still incomplete: it is not copied for each small piece.
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

    /// Keeps an incomplete frame until more bytes arrive.
    ///
    /// # Errors
    ///
    /// [`NotTurn`] if it is not the start of a frame.
    pub(super) fn keep_partial(&mut self, piece: &[u8]) -> Result<(), NotTurn> {
        self.wanted = piece.len() + missing(piece)?;
        if piece.is_empty() {
            // An idle stream has no buffers.
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(piece);
        }
        Ok(())
    }

    /// Queues a message, padded to a multiple of four (RFC 8656 section 12.5), for the write at the end of the
    /// tick. `spare` returns an empty buffer for a stream without one. Returns false if the queue is full.
    pub(super) fn queue(&mut self, message: &[u8], spare: impl FnOnce() -> Vec<u8>) -> bool {
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

    /// Makes space for `more` bytes. Written bytes are removed before the buffer grows, and it never exceeds
    /// [`MAX_QUEUED_BYTES`].
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

    /// Whether the queue is long enough to be written before the end of the tick.
    pub(super) fn should_write_early(&self) -> bool {
        self.blocked_since.is_none() && self.outbound.len() - self.written >= EARLY_WRITE_BYTES
    }

    /// Whether the client must read before more can be written.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.is_some()
    }

    /// Writes queued bytes until the socket blocks. Returns the buffer once it is empty.
    pub(super) fn write(&mut self, now: Mono) -> io::Result<Option<Vec<u8>>> {
        loop {
            let rest = &self.outbound[self.written..];
            let written = if rest.is_empty() {
                // TLS may still have records to send.
                self.io.flush().map(|()| None)
            } else {
                self.io.write(rest).map(Some)
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

    /// The time at which this stream times out.
    pub(super) fn deadline(&self, allocated: bool) -> Mono {
        let silent = if allocated {
            self.last_read + IDLE_TIMEOUT
        } else {
            self.opened + ALLOCATION_TIMEOUT
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

    /// ChannelData with a payload of this length.
    fn frame(payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x40, 0];
        bytes.extend((payload as u16).to_be_bytes());
        bytes.resize(4 + payload, 7);
        bytes
    }

    #[test]
    fn a_stream_without_an_allocation_times_out() {
        let (mut stream, mut client) = stream();
        // Neither single bytes nor complete frames extend the timeout.
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
        // The queued bytes arrive once the client reads, and then the stream has no buffer.
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
