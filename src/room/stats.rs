//! The statistics that a `parlor.v1` client sends about the media that it receives.

use std::time::Duration;

use serde::Deserialize;

use super::DropReason;

/// Streams in one frame.
pub(super) const MAX_STREAMS: usize = 64;
/// The largest absolute number of lost packets: the integers that JavaScript has.
const MAX_LOST: u64 = 1 << 53;
/// The largest jitter.
const MAX_JITTER_MS: f64 = 60_000.0;

/// The reception of one stream, as the client reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedStream {
    pub ssrc: u32,
    /// Lost packets since the start of the stream. Late ones are subtracted again.
    pub lost: i64,
    pub jitter: Duration,
}

/// The `data` of a `stats` frame.
#[derive(Deserialize)]
pub(super) struct StatsData {
    received: Vec<StreamData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StreamData {
    ssrc: u32,
    /// The relay counts the packets itself.
    #[serde(rename = "packets")]
    _packets: u64,
    lost: i64,
    jitter_ms: f64,
}

impl StatsData {
    /// Returns the streams.
    ///
    /// # Errors
    /// There are too many streams, or a value is out of bounds.
    pub(super) fn streams(self) -> Result<Vec<ReceivedStream>, DropReason> {
        if self.received.len() > MAX_STREAMS {
            return Err(DropReason::BadData);
        }
        let streams = self.received.into_iter();
        streams.map(StreamData::stream).collect()
    }
}

impl StreamData {
    fn stream(self) -> Result<ReceivedStream, DropReason> {
        let is_valid =
            self.lost.unsigned_abs() <= MAX_LOST && (0.0..=MAX_JITTER_MS).contains(&self.jitter_ms);
        if !is_valid {
            return Err(DropReason::BadData);
        }
        Ok(ReceivedStream {
            ssrc: self.ssrc,
            lost: self.lost,
            jitter: Duration::from_secs_f64(self.jitter_ms / 1000.0),
        })
    }
}

#[cfg(test)]
mod tests;
