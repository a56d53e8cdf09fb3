//! Follows the media of one allocation.

use crate::clock::Mono;

use super::path::{Path, PathEvent};
use super::reports::{Behind, Reports, StreamReport};
use super::round_trip::RoundTrips;
use super::streams::Streams;
use super::values::{LinkQuality, Loss, Quality};

/// Follows the media of one allocation.
#[derive(Debug)]
pub(in crate::turn) struct LinkMonitor {
    up: Streams,
    path: Path,
    down: Streams,
    round_trips: RoundTrips,
}

impl LinkMonitor {
    #[cold]
    pub(in crate::turn) fn new(now: Mono) -> LinkMonitor {
        LinkMonitor {
            up: Streams::new(now),
            path: Path::new(now),
            down: Streams::new(now),
            round_trips: RoundTrips::default(),
        }
    }

    /// Records application data from the client.
    #[inline]
    pub(in crate::turn) fn record_from_client(
        &mut self,
        packet: &[u8],
        now: Mono,
    ) -> Option<PathEvent> {
        self.path.heard = now;
        if self.up.record::<true>(packet, now) {
            self.path.record_media(now)
        } else {
            self.round_trips.received(packet, now);
            None
        }
    }

    /// Records application data that is sent to the client.
    #[inline]
    pub(in crate::turn) fn record_to_client(&mut self, packet: &[u8], now: Mono) {
        if !self.down.record::<false>(packet, now) {
            self.round_trips.sent(packet, now);
        }
    }

    /// Records that a request of the client arrived.
    pub(in crate::turn) fn record_request(&mut self, now: Mono) {
        self.path.heard = now;
    }

    /// Records reports of the client about streams that this allocation relays to it. Others are
    /// ignored.
    pub(in crate::turn) fn record_reports(&mut self, reports: &[StreamReport], now: Mono) {
        for report in reports {
            if let Some(stream) = self.down.stream(report.ssrc) {
                let relayed = stream.counts();
                stream.reports.add(*report, relayed, now);
            }
        }
    }

    /// Returns when to call [`LinkMonitor::check`].
    pub(in crate::turn) fn next_check(&self) -> Option<Mono> {
        self.path.check_at
    }

    /// Returns true if the client's path has died since the last check.
    pub(in crate::turn) fn check(&mut self, now: Mono) -> bool {
        self.path.check(now, self.down.media)
    }

    /// Returns the quality of both links.
    pub(in crate::turn) fn quality(&self, now: Mono) -> Quality {
        let silent = |streams: &Streams| streams.media.map(|media| now.since(media));
        let reports = || self.down.iter().map(|stream| &stream.reports);
        let reported = reports().any(|reports| reports.total().is_some());
        Quality {
            up: LinkQuality {
                recent: self.up.recent_loss(),
                total: self.up.total_loss(),
                jitter: self.up.jitter(),
                kbps: self.up.kbps(now),
                silent: silent(&self.up),
            },
            down: LinkQuality {
                recent: sum(reports().filter_map(Reports::recent)),
                total: sum(reports().filter_map(Reports::total)),
                jitter: reports()
                    .map(|reports| reports.jitter)
                    .max()
                    .filter(|_| reported),
                kbps: self.down.kbps(now),
                silent: silent(&self.down),
            },
            round_trip: self.round_trips.median(),
            path_lost: self.path.is_lost,
        }
    }
}

/// Returns the loss of all reported streams; `None` if nothing was sent between reports.
fn sum(streams: impl Iterator<Item = Behind>) -> Option<Loss> {
    let mut all = Loss::default();
    for Behind { sent, lost } in streams {
        all.expected += sent;
        all.lost += (lost.max(0) as u64).min(sent);
    }
    (all.expected > 0).then_some(all)
}
