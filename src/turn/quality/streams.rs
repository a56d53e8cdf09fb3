//! The RTP streams in one direction of an allocation, and their counts in a sliding window.

use std::time::Duration;

use crate::clock::Mono;

use super::clock_rate::Timing;
use super::rtp::{HEADER, Order, RtpHeader};
use super::sequence::{Counts, Sequence};
use super::values::{Loss, WINDOW};

/// Streams that are followed in one direction. A peer connection with video and retransmissions has
/// about six.
const MAX_STREAMS: usize = 16;

/// The streams of one direction, between the client and the relay.
#[derive(Debug)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    /// The index of the stream of the last packet.
    last: usize,
    /// When the window is renewed next.
    renew_at: Mono,
    /// The arrival of the last media packet, or the start.
    last_media: Mono,
    /// The counts of streams that had to make room for others.
    replaced: Counts,
    /// The start of the window before the current interval, and of the current interval, with the
    /// number of bytes before them.
    starts: [(Mono, u64); 2],
}

/// One stream.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    /// That of the next packet in order.
    next: Order,
    sequence: Sequence,
    timing: Timing,
    /// The counts at the starts of the window.
    earlier: [Counts; 2],
}

impl Streams {
    pub(super) fn new(now: Mono) -> Streams {
        Streams {
            streams: Vec::new(),
            last: 0,
            renew_at: now + WINDOW,
            last_media: now,
            replaced: Counts::default(),
            starts: [(now, 0); 2],
        }
    }

    /// Records the next packet of the stream of the last one, which is what nearly every packet is.
    /// Returns false and records nothing if it is another one, or if the last one is more than
    /// `longest_gap_ns` ago.
    ///
    /// Jitter is measured if `MEASURES_JITTER`.
    #[inline(always)]
    pub(super) fn record_next<const MEASURES_JITTER: bool>(
        &mut self,
        packet: &[u8],
        now: Mono,
        longest_gap_ns: u64,
    ) -> bool {
        let Some(header) = packet.first_chunk::<HEADER>() else {
            return false;
        };
        let Some(stream) = self.streams.get_mut(self.last) else {
            return false;
        };
        let gap_ns = now.0.wrapping_sub(self.last_media.0);
        let header = RtpHeader::read(header);
        if header.order != stream.next
            || header.ssrc != stream.ssrc
            || now >= self.renew_at
            || gap_ns > longest_gap_ns
        {
            return false;
        }
        self.last_media = now;
        stream.next = header.order.next();
        stream.sequence.record_next();
        let sequence = header.sequence();
        if MEASURES_JITTER && Timing::is_sampled(sequence) {
            return stream.timing.record(sequence, header.timestamp, now);
        }
        true
    }

    /// Records any packet. Returns the time since the previous media packet if it is a media packet.
    /// `bytes` is the number of bytes in this direction so far.
    pub(super) fn record_any(&mut self, packet: &[u8], now: Mono, bytes: u64) -> Option<u64> {
        let header = RtpHeader::parse(packet)?;
        if now >= self.renew_at {
            self.renew_window(now, bytes);
        }
        let gap_ns = now.0.saturating_sub(self.last_media.0);
        self.last_media = now;
        let mut streams = self.streams.iter();
        match streams.position(|one| one.ssrc == header.ssrc) {
            Some(known) => {
                self.last = known;
                let stream = &mut self.streams[known];
                let pause = Duration::from_nanos(gap_ns);
                stream.sequence.record_any(header.sequence(), pause);
                stream.next = header.order_after(stream.sequence.highest());
                stream
                    .timing
                    .record(header.sequence(), header.timestamp, now);
            }
            None => self.add(Stream::new(header, now)),
        }
        Some(gap_ns)
    }

    /// Adds a stream, in place of the one with the fewest recent packets if there are too many.
    fn add(&mut self, stream: Stream) {
        if self.streams.len() < MAX_STREAMS {
            self.streams.push(stream);
            self.last = self.streams.len() - 1;
            return;
        }
        let streams = self.streams.iter().enumerate();
        let quietest = streams.min_by_key(|(_, one)| one.recent().expected);
        self.last = quietest.map_or(0, |(index, _)| index);
        let counts = self.streams[self.last].counts();
        self.replaced.expected += counts.expected;
        self.replaced.lost += counts.lost;
        self.streams[self.last] = stream;
    }

    fn renew_window(&mut self, now: Mono, bytes: u64) {
        // After a pause, both halves of the window are over.
        let halves = if now >= self.renew_at + WINDOW { 2 } else { 1 };
        for _ in 0..halves {
            self.starts = [self.starts[1], (now, bytes)];
            for stream in &mut self.streams {
                stream.earlier = [stream.earlier[1], stream.counts()];
            }
        }
        for stream in &mut self.streams {
            stream.timing.measure();
        }
        self.renew_at = now + WINDOW;
    }

    /// Returns when the last media packet arrived; `None` before the first.
    pub(super) fn last_media(&self) -> Option<Mono> {
        (!self.streams.is_empty()).then_some(self.last_media)
    }

    /// Returns the number of media packets.
    pub(super) fn received(&self) -> u64 {
        let counts = self.streams.iter().map(Stream::counts);
        let counts = counts.chain([self.replaced]);
        counts.map(Counts::received).sum()
    }

    /// Returns the counts of the stream with this SSRC.
    pub(super) fn counts(&self, ssrc: u32) -> Option<Counts> {
        let mut streams = self.streams.iter();
        Some(streams.find(|stream| stream.ssrc == ssrc)?.counts())
    }

    /// Returns the loss in the window.
    pub(super) fn recent_loss(&self) -> Option<Loss> {
        sum(self.streams.iter().map(Stream::recent))
    }

    /// Returns the loss since the first packet.
    pub(super) fn total_loss(&self) -> Option<Loss> {
        let counts = self.streams.iter().map(Stream::counts);
        sum(counts.chain([self.replaced]))
    }

    /// Returns the jitter of the stream of the last packet.
    pub(super) fn jitter(&self) -> Option<Duration> {
        Some(self.streams.get(self.last)?.timing.jitter())
    }

    /// Returns the bit rate in the window, in kbit/s. `bytes` is the number of bytes in this direction
    /// so far.
    pub(super) fn kbps(&self, now: Mono, bytes: u64) -> u32 {
        let (start, before) = self.starts[0];
        let ms = now.since(start).as_millis() as u64;
        let bits = bytes.saturating_sub(before).saturating_mul(8);
        u32::try_from(bits.checked_div(ms).unwrap_or(0)).unwrap_or(u32::MAX)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }
}

impl Stream {
    fn new(header: RtpHeader, now: Mono) -> Stream {
        Stream {
            ssrc: header.ssrc,
            next: header.order_after(header.sequence()),
            sequence: Sequence::new(header.sequence()),
            timing: Timing::new(header.sequence(), header.timestamp, now),
            earlier: [Counts::default(); 2],
        }
    }

    fn counts(&self) -> Counts {
        self.sequence.counts()
    }

    fn recent(&self) -> Counts {
        self.counts().since(self.earlier[0])
    }
}

/// Returns the loss of all streams; `None` if they had no packet.
fn sum(counts: impl Iterator<Item = Counts>) -> Option<Loss> {
    let mut all = Loss::default();
    for counts in counts {
        all.expected += counts.expected;
        all.lost += counts.lost.min(counts.expected);
    }
    (all.expected > 0).then_some(all)
}
