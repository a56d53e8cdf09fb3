//! Loss between the relay and a client, from the reports of the client.
//!
//! A client reports the loss of a stream on its whole way. The relay knows the loss before it, and the
//! difference is the loss behind it. Both are differences of sequence numbers, so packets in flight
//! at the time of a report do not count as lost.

use std::time::Duration;

use crate::clock::Mono;

use super::sequence::Counts;
use super::values::WINDOW;

/// The reception of one stream, as a client reports it: its statistics `inbound-rtp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamReport {
    pub ssrc: u32,
    /// Lost packets since the start. Late ones are subtracted again.
    pub lost: i64,
    pub jitter: Duration,
}

/// The reports of a client about one stream.
#[derive(Debug, Default)]
pub(super) struct Reports {
    first: Option<Report>,
    /// The reports at the start of the window and of its second half.
    earlier: [Option<Report>; 2],
    last: Option<Report>,
    pub jitter: Duration,
}

/// A report, and the relay's own counts at its arrival.
#[derive(Debug, Clone, Copy)]
struct Report {
    at: Mono,
    lost: i64,
    relayed: Counts,
}

/// The packets that the relay sent, and those of them that the client misses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Behind {
    pub sent: u64,
    pub lost: i64,
}

impl Reports {
    /// Adds a report. `relayed` are the counts of the packets that the relay has sent to the client.
    pub(super) fn add(&mut self, report: StreamReport, relayed: Counts, now: Mono) {
        let report_now = Report {
            at: now,
            lost: report.lost,
            relayed,
        };
        self.jitter = report.jitter;
        let first = *self.first.get_or_insert(report_now);
        let [older, newer] = self.earlier.map(|report| report.unwrap_or(first));
        self.earlier = if now.since(newer.at) >= WINDOW {
            [Some(newer), Some(report_now)]
        } else {
            [Some(older), Some(newer)]
        };
        self.last = Some(report_now);
    }

    /// Returns the packets of the window.
    pub(super) fn recent(&self) -> Option<Behind> {
        self.between(self.earlier[0])
    }

    /// Returns the packets since the first report.
    pub(super) fn total(&self) -> Option<Behind> {
        self.between(self.first)
    }

    fn between(&self, earlier: Option<Report>) -> Option<Behind> {
        let (earlier, last) = (earlier?, self.last?);
        let lost = last.lost.saturating_sub(earlier.lost);
        let lost_before = last.relayed.lost as i64 - earlier.relayed.lost as i64;
        Some(Behind {
            sent: last
                .relayed
                .received()
                .saturating_sub(earlier.relayed.received()),
            lost: lost.saturating_sub(lost_before),
        })
    }
}
