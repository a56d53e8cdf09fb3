//! The text about this node, and the list of all nodes.

use std::sync::Arc;

use redis::Value;

use super::Node;
use crate::bus::redis::inbox::text;
use crate::bus::redis::nodes::{NodeInfo, parse};
use crate::clock::Mono;
use crate::room::rule::{Rule, applies};

impl Node {
    /// The listed nodes, including this one, as of the last renewal of the lease.
    pub fn nodes(&self) -> &Arc<[NodeInfo]> {
        &self.listing.nodes
    }

    /// Whether this node has a lease: no other node may have evicted it.
    pub fn has_lease(&self, now: Mono) -> bool {
        self.listing.leased_until.is_some_and(|until| now < until)
    }

    /// Entries of the inbox that the node had not read at the last renewal of the lease.
    pub fn lag(&self) -> u64 {
        self.listing.lag
    }

    /// Changes [`Settings::about`](super::Settings::about), soon also for other nodes.
    pub fn set_about(&mut self, about: String) {
        self.settings.about = about;
        self.renewal.next = Mono::default();
    }

    /// Records whether this node gets new rooms to relay, soon also for other nodes.
    pub fn set_draining(&mut self, is_draining: bool) {
        self.listing.is_draining = is_draining;
        self.renewal.next = Mono::default();
    }

    /// Handles the last parts of the answer to a renewal: lag, time, version and nodes.
    pub(super) fn renewed_listing(&mut self, mut parts: impl Iterator<Item = Value>, sent: Mono) {
        if let Some(Value::Int(lag)) = parts.next() {
            self.listing.lag = lag as u64;
        }
        self.record_time(parts.next(), sent);
        let version = parts.next().and_then(text).unwrap_or_default();
        if version != self.listing.version {
            self.listing.version = version;
            self.listing.nodes = parse(parts.next().unwrap_or(Value::Nil));
        }
    }

    /// Records the time of the cluster that a script returned.
    pub(super) fn record_time(&mut self, time: Option<Value>, sent: Mono) {
        let time = time.and_then(text).and_then(|time| time.parse().ok());
        self.listing.time = time.map(|time| (time, sent)).or(self.listing.time);
    }

    /// The time of the cluster in µs, or 0 if it is unknown. Redis may return with an earlier clock; a node's own
    /// clock does not go back.
    pub(super) fn time_of_cluster(&self, now: Mono) -> u64 {
        let time = self.listing.time.filter(|_| applies(Rule::TimeGoesOn));
        time.map_or(0, |(time, at)| time + now.since(at).as_micros() as u64)
    }
}
