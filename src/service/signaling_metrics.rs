//! The metrics of signaling.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;
use crate::room::{CloseCode, DropReason, Kind, Outcome};

/// Counters are indexed by position, so that a message needs no lookup by name.
pub(super) struct SignalingMetrics {
    pub connections: Gauge,
    pub rooms: Gauge,
    relayed: Vec<Counter>,
    copies: Counter,
    /// Frames that were queued for a reader and then dropped.
    pub lost: Counter,
    dropped: Vec<Counter>,
    closed: Vec<Counter>,
}

impl SignalingMetrics {
    pub(super) fn new(metrics: &Metrics) -> SignalingMetrics {
        let codes = CloseCode::ALL.map(|code| code.code().to_string());
        SignalingMetrics {
            connections: metrics.gauge("signaling_connections", "WebSockets in a room"),
            rooms: metrics.gauge("signaling_rooms", "Rooms that somebody is connected to"),
            relayed: metrics.counters(
                "signaling_messages",
                "Messages taken from clients and passed on",
                "type",
                Kind::ALL.map(Kind::label),
            ),
            copies: metrics.counter("signaling_deliveries", "Copies of messages handed out"),
            lost: metrics.counter(
                "signaling_queue_dropped",
                "Frames that a reader with a full queue did not get, of the sender who filled it most",
            ),
            dropped: metrics.counters(
                "signaling_dropped",
                "Messages from clients that went nowhere",
                "reason",
                DropReason::ALL.map(DropReason::label),
            ),
            closed: metrics.counters(
                "signaling_closed",
                "WebSockets that the server closed",
                "code",
                codes.each_ref().map(String::as_str),
            ),
        }
    }

    /// Counts the outcome of a client's message.
    pub(super) fn received(&self, outcome: Outcome) {
        match outcome {
            Outcome::Relayed { kind, copies } => {
                count(&self.relayed, &Kind::ALL, kind);
                self.copies.inc_by(copies as u64);
            }
            Outcome::Dropped(reason) => count(&self.dropped, &DropReason::ALL, reason),
            Outcome::Control
            | Outcome::Handled
            | Outcome::Acknowledged(_)
            | Outcome::Repeated
            | Outcome::Requested
            | Outcome::Closed(_)
            | Outcome::Gone => {}
        }
    }

    /// Counts a close frame of the server.
    pub(super) fn closed(&self, code: CloseCode) {
        count(&self.closed, &CloseCode::ALL, code);
    }
}

fn count<T: PartialEq>(counters: &[Counter], all: &[T], one: T) {
    let position = all.iter().position(|known| *known == one);
    if let Some(counter) = position.and_then(|position| counters.get(position)) {
        counter.inc();
    }
}
