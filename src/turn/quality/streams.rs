//! The RTP streams in one direction of an allocation, and their counts in a sliding window.

use std::time::Duration;

use crate::clock::Mono;

use super::clock_rate::Timing;
use super::reports::Reports;
use super::rtp::RtpHeader;
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
    /// The counts of streams that had to make room for others.
    replaced: Counts,
    /// Bytes of all packets, those of other protocols included.
    pub bytes: u64,
    /// When the window is renewed next.
    renew_at: Mono,
    /// The start of the window before the current interval, and of the current interval.
    starts: [(Mono, u64); 2],
    /// The arrival of the last media packet.
    pub media: Option<Mono>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    ssrc: u32,
    sequence: Sequence,
    timing: Timing,
    /// The counts at the starts of the window.
    earlier: [Counts; 2],
    pub reports: Reports,
}

impl Stream {
    fn new(header: RtpHeader, now: Mono) -> Stream {
        Stream {
            ssrc: header.ssrc,
            sequence: Sequence::new(header.sequence),
            timing: Timing::new(now, header.timestamp),
            earlier: [Counts::default(); 2],
            reports: Reports::default(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.sequence.counts()
    }
}

impl Streams {
    pub(super) fn new(now: Mono) -> Streams {
        Streams {
            streams: Vec::new(),
            last: 0,
            replaced: Counts::default(),
            bytes: 0,
            renew_at: now + WINDOW,
            starts: [(now, 0); 2],
            media: None,
        }
    }

    /// Counts a packet of any protocol, and returns whether it is a media packet. Jitter is measured
    /// if `MEASURES_JITTER`.
    #[inline]
    pub(super) fn record<const MEASURES_JITTER: bool>(&mut self, packet: &[u8], now: Mono) -> bool {
        self.bytes += packet.len() as u64;
        let Some(header) = RtpHeader::parse(packet) else {
            return false;
        };
        if now >= self.renew_at {
            self.renew_window(now);
        }
        self.media = Some(now);
        match self.streams.get_mut(self.last) {
            Some(stream) if stream.ssrc == header.ssrc => {
                let arrival = stream.timing.arrival;
                stream.sequence.record(header.sequence, arrival, now);
                if MEASURES_JITTER {
                    stream.timing.record(now, header.timestamp);
                } else {
                    stream.timing.arrival = now;
                }
            }
            _ => self.record_other::<MEASURES_JITTER>(header, now),
        }
        true
    }

    /// Counts a packet of another stream than the last one.
    #[inline(never)]
    fn record_other<const MEASURES_JITTER: bool>(&mut self, header: RtpHeader, now: Mono) {
        let known = self.streams.iter().position(|one| one.ssrc == header.ssrc);
        self.last = known.unwrap_or_else(|| self.add(header, now));
        if known.is_some() {
            let stream = &mut self.streams[self.last];
            let arrival = stream.timing.arrival;
            stream.sequence.record(header.sequence, arrival, now);
            if MEASURES_JITTER {
                stream.timing.record(now, header.timestamp);
            } else {
                stream.timing.arrival = now;
            }
        }
    }

    /// Adds a stream, in place of the one that has been silent the longest if there are too many.
    fn add(&mut self, header: RtpHeader, now: Mono) -> usize {
        let stream = Stream::new(header, now);
        if self.streams.len() < MAX_STREAMS {
            self.streams.push(stream);
            return self.streams.len() - 1;
        }
        let streams = self.streams.iter().enumerate();
        let oldest = streams.min_by_key(|(_, one)| one.timing.arrival);
        let index = oldest.map_or(0, |(index, _)| index);
        let counts = self.streams[index].counts();
        self.replaced.expected += counts.expected;
        self.replaced.received += counts.received;
        self.streams[index] = stream;
        index
    }

    #[cold]
    fn renew_window(&mut self, now: Mono) {
        // After a pause, both halves of the window are over.
        let halves = if now >= self.renew_at + WINDOW { 2 } else { 1 };
        for _ in 0..halves {
            self.starts = [self.starts[1], (now, self.bytes)];
            for stream in &mut self.streams {
                stream.earlier = [stream.earlier[1], stream.counts()];
            }
        }
        for stream in &mut self.streams {
            stream.timing.measure();
        }
        self.renew_at = now + WINDOW;
    }

    /// Returns the loss in the window.
    pub(super) fn recent_loss(&self) -> Option<Loss> {
        let counts = self.streams.iter();
        let counts = counts.map(|stream| stream.counts().since(stream.earlier[0]));
        sum(counts)
    }

    /// Returns the loss since the first packet.
    pub(super) fn total_loss(&self) -> Option<Loss> {
        sum(self
            .streams
            .iter()
            .map(Stream::counts)
            .chain([self.replaced]))
    }

    /// Returns the jitter of the stream of the last packet.
    pub(super) fn jitter(&self) -> Option<Duration> {
        Some(self.streams.get(self.last)?.timing.jitter())
    }

    /// Returns the bit rate in the window, in kbit/s.
    pub(super) fn kbps(&self, now: Mono) -> u32 {
        let (start, bytes) = self.starts[0];
        let ms = now.since(start).as_millis() as u64;
        let bits = 8 * (self.bytes - bytes);
        u32::try_from(bits.checked_div(ms).unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// Returns the stream with this SSRC.
    pub(super) fn stream(&mut self, ssrc: u32) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.ssrc == ssrc)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter()
    }
}

/// Returns the loss of all streams; `None` if they had no packet.
fn sum(counts: impl Iterator<Item = Counts>) -> Option<Loss> {
    let (mut expected, mut lost) = (0, 0);
    for counts in counts {
        expected += counts.expected;
        // A stream whose late packets arrive does not hide the loss of another one.
        lost += counts.lost().max(0) as u64;
    }
    (expected > 0).then_some(Loss { expected, lost })
}
