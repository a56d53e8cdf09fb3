//! Counts the events of the bus.

use crate::bus::{self, Event};
use crate::metrics::Metrics;

/// Counts every event that `bus` delivers, by its name.
pub fn count_events(bus: &mut bus::Local, metrics: &Metrics) {
    let counters = metrics.counters(
        "events",
        "Committed changes of users and rooms",
        "event",
        Event::NAMES,
    );
    bus.subscribe(move |event| {
        counters[event.index()].inc();
    });
}
