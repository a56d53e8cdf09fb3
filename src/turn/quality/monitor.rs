//! Follows the media of one allocation.

use crate::clock::Mono;

use super::path::{Path, PathEvent, Traffic};
use super::reports::{Behind, Reports, StreamReport};
use super::round_trip::RoundTrips;
use super::streams::Streams;
use super::values::{LinkQuality, Loss, Quality};

/// Follows the media of one allocation.
///
/// Nearly every packet continues the stream of the packet before it and changes a few fields of
/// `up` or `down`. The others take a longer way.
#[derive(Debug)]
pub(in crate::turn) struct LinkMonitor {
    up: Streams,
    path: Path,
    down: Streams,
    round_trips: RoundTrips,
    /// The client's reports by SSRC, of streams of `down`.
    reports: Vec<(u32, Reports)>,
}

impl LinkMonitor {
    #[cold]
    pub(in crate::turn) fn new(now: Mono) -> LinkMonitor {
        LinkMonitor {
            up: Streams::new(now),
            path: Path::new(now, 0),
            down: Streams::new(now),
            round_trips: RoundTrips::default(),
            reports: Vec::new(),
        }
    }

    /// Records application data from the client. Returns false, and records nothing, if
    /// [`LinkMonitor::record_any_from_client`] has to be called.
    #[inline(always)]
    pub(in crate::turn) fn record_from_client(&mut self, packet: &[u8], now: Mono) -> bool {
        let longest_gap_ns = self.path.longest_gap_ns();
        self.up.record_next::<true>(packet, now, longest_gap_ns)
    }

    /// Records any application data from the client. `bytes` is the number of bytes from the client so
    /// far.
    pub(in crate::turn) fn record_any_from_client(
        &mut self,
        packet: &[u8],
        now: Mono,
        bytes: u64,
    ) -> Option<PathEvent> {
        match self.up.record_any(packet, now, bytes) {
            Some(gap_ns) => self.path.record_gap(gap_ns, now, self.up.received()),
            None => {
                self.path.heard = now;
                self.round_trips.received(packet, now);
                None
            }
        }
    }

    /// Records application data that is sent to the client. Returns false, and records nothing, if
    /// [`LinkMonitor::record_any_to_client`] has to be called.
    #[inline(always)]
    pub(in crate::turn) fn record_to_client(&mut self, packet: &[u8], now: Mono) -> bool {
        self.down.record_next::<false>(packet, now, u64::MAX)
    }

    /// Records any application data that is sent to the client. `bytes` is the number of bytes to the
    /// client so far.
    pub(in crate::turn) fn record_any_to_client(&mut self, packet: &[u8], now: Mono, bytes: u64) {
        if self.down.record_any(packet, now, bytes).is_none() {
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
        let down = &self.down;
        self.reports
            .retain(|(ssrc, _)| down.counts(*ssrc).is_some());
        for report in reports {
            let Some(relayed) = self.down.counts(report.ssrc) else {
                continue;
            };
            let mut known = self.reports.iter_mut();
            match known.find(|(ssrc, _)| *ssrc == report.ssrc) {
                Some((_, reports)) => reports.add(*report, relayed, now),
                None => {
                    let mut reports = Reports::default();
                    reports.add(*report, relayed, now);
                    self.reports.push((report.ssrc, reports));
                }
            }
        }
    }

    /// Returns when to call [`LinkMonitor::check`].
    pub(in crate::turn) fn next_check(&self) -> Option<Mono> {
        self.path.check_at
    }

    /// Returns true if the client's path has died since the last check.
    pub(in crate::turn) fn check(&mut self, now: Mono) -> bool {
        let traffic = self.traffic();
        traffic.is_some_and(|traffic| self.path.check(now, traffic))
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(Traffic {
            last_media: self.up.last_media()?,
            received: self.up.received(),
            peers: self.down.last_media(),
        })
    }

    /// Records that data of the client has come from another port. Returns true if the path is lost by
    /// that.
    pub(in crate::turn) fn record_rebinding(&mut self, now: Mono) -> bool {
        let traffic = self.traffic();
        traffic.is_some_and(|traffic| self.path.record_rebinding(now, traffic))
    }

    /// Returns the quality of both links. `bytes_up` and `bytes_down` are the numbers of bytes from and
    /// to the client so far.
    pub(in crate::turn) fn quality(&self, now: Mono, bytes_up: u64, bytes_down: u64) -> Quality {
        let silent = |streams: &Streams| streams.last_media().map(|media| now.since(media));
        let reports = || self.reports.iter().map(|(_, reports)| reports);
        Quality {
            up: LinkQuality {
                recent: self.up.recent_loss(),
                total: self.up.total_loss(),
                jitter: self.up.jitter(),
                kbps: self.up.kbps(now, bytes_up),
                silent: silent(&self.up),
            },
            down: LinkQuality {
                recent: sum(reports().filter_map(Reports::recent)),
                total: sum(reports().filter_map(Reports::total)),
                jitter: reports().map(|reports| reports.jitter).max(),
                kbps: self.down.kbps(now, bytes_down),
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
