//! The distribution of the quality of links, without users and rooms.

use prometheus_client::metrics::histogram::Histogram;

use super::links;
use crate::metrics::Metrics;
use crate::relay::Session;

const DIRECTIONS: [&str; 2] = ["up", "down"];
/// The limits of the levels are among the bounds.
const LOSS_RATIOS: [f64; 8] = [0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32];
const JITTER_SECONDS: [f64; 8] = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32];
const ROUND_TRIP_SECONDS: [f64; 8] = [0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6];

/// Histograms of the links with media, up and down.
pub(super) struct Histograms {
    loss: Vec<Histogram>,
    jitter: Vec<Histogram>,
    round_trip: Histogram,
}

impl Histograms {
    pub(super) fn new(metrics: &Metrics) -> Histograms {
        Histograms {
            loss: metrics.histograms(
                "link_loss_ratio",
                "Lost packets of links with media in 5 to 10 seconds, as a share of all",
                ("direction", &DIRECTIONS),
                &LOSS_RATIOS,
            ),
            jitter: metrics.histograms(
                "link_jitter_seconds",
                "Jitter of links with media",
                ("direction", &DIRECTIONS),
                &JITTER_SECONDS,
            ),
            round_trip: metrics.histogram(
                "link_round_trip_seconds",
                "Round trip between the relay and clients with media",
                &ROUND_TRIP_SECONDS,
            ),
        }
    }

    /// Observes each link with media once.
    pub(super) fn observe(&self, sessions: &[Session]) {
        for quality in sessions.iter().filter_map(|session| session.quality) {
            let links = links::links(&quality);
            for (index, link) in links.iter().enumerate() {
                let Some(link) = link.filter(|link| link.is_rated()) else {
                    continue;
                };
                self.loss[index].observe(link.loss.percent() / 100.0);
                if let Some(jitter) = link.jitter {
                    self.jitter[index].observe(jitter.as_secs_f64());
                }
            }
            let is_active = links.iter().any(Option::is_some);
            if let Some(time) = quality.round_trip.filter(|_| is_active) {
                self.round_trip.observe(time.as_secs_f64());
            }
        }
    }
}
