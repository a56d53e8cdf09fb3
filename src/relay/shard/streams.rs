//! Handles the TURN streams of a shard: over TCP and TLS.

use std::io;

use crate::clock::Now;
use crate::turn::Route;

use super::Shard;
use crate::relay::framer::next_frame;
use crate::relay::mailbox::Command;

/// Maximum number of bytes read from streams in a tick, so that streams do not delay datagrams. Each read of a
/// stream adds a base cost.
const STREAM_BYTES_PER_TICK: usize = 128 * 1024;
const STREAM_BASE_COST_BYTES: usize = 2 * 1024;

impl Shard {
    /// Reads every ready stream once, until the limit of a tick.
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

    /// Writes the queued data of all streams, and ends streams that are broken or timed out.
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

    /// Ends a stream that this shard serves, and notifies the other shards.
    pub(super) fn end_stream(&mut self, stream: u32, error: &io::Error) {
        if error.kind() != io::ErrorKind::UnexpectedEof {
            let connection = self.streams.connection(stream);
            tracing::debug!(connection, %error, "TURN stream ended");
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
