//! A shard's turn, as far as its streams go.

use std::io;

use crate::clock::Now;
use crate::turn::Route;

use super::Shard;
use crate::relay::framer::next_frame;
use crate::relay::mailbox::Command;

/// Bytes read from streams in one turn, and what a stream counts besides its bytes: streams must not
/// keep datagrams waiting.
const STREAM_BYTES_PER_TICK: usize = 128 * 1024;
const STREAM_BASE_COST_BYTES: usize = 2 * 1024;

impl Shard {
    /// Reads every stream that has something once, as far as a turn goes.
    pub(super) fn read_streams(&mut self, now: Now) {
        if !self.streams.is_busy() {
            return;
        }
        let mut buffer = self.streams.take_buffer();
        let mut read = 0;
        while read < STREAM_BYTES_PER_TICK
            && let Some((stream, route)) = self.streams.next_ready()
        {
            match self.read_stream(now, stream, &route, &mut buffer) {
                Ok(bytes) => read += STREAM_BASE_COST_BYTES + bytes,
                Err(error) => self.end_stream(stream, &error),
            }
        }
        self.streams.return_buffer(buffer);
        self.process_outputs(now);
    }

    fn read_stream(
        &mut self,
        now: Now,
        stream: u32,
        route: &Route,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let count = self.streams.read(stream, buffer, now.mono)?;
        let mut rest = &buffer[..count];
        self.tos = 0;
        while let Some(frame) = next_frame(rest).map_err(io::Error::other)? {
            let slot = self.copy_to_slot(&rest[..frame.len]);
            self.handle_client_message(now, route, slot, frame.len);
            rest = &rest[frame.padded..];
        }
        if count > 0 {
            self.streams.keep_partial(stream, rest)?;
        }
        Ok(count)
    }

    /// Writes to each stream what this turn has for it, and ends those that are broken or overdue.
    pub(super) fn write_streams(&mut self, now: Now) {
        let mut broken = Vec::new();
        self.streams
            .write(now.mono, |stream, error| broken.push((stream, error)));
        for stream in self.streams.timed_out(now.mono) {
            broken.push((stream, io::ErrorKind::TimedOut.into()));
        }
        if broken.is_empty() {
            return;
        }
        for (stream, error) in broken {
            self.end_stream(stream, &error);
        }
        self.process_outputs(now);
    }

    /// Ends a stream that this shard serves.
    pub(super) fn end_stream(&mut self, stream: u32, error: &io::Error) {
        if error.kind() != io::ErrorKind::UnexpectedEof {
            tracing::debug!(stream, %error, "a TURN stream ended");
        }
        self.forget_stream(stream);
        self.links.broadcast(|| Command::StreamClosed { stream });
    }

    pub(super) fn forget_stream(&mut self, stream: u32) {
        if let Some(route) = self.streams.close(self.poll.registry(), stream) {
            self.server.stream_closed(&route);
        }
    }
}
