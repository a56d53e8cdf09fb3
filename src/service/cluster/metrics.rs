//! The metrics of one of several nodes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::bus::redis::{Counts, Link};
use crate::metrics::Metrics;

/// Reads the figures of a link at each scrape.
#[derive(Debug)]
struct LinkCollector(Arc<Link>);

/// Selects a figure of a link.
type Figure = fn(&Counts) -> u64;

/// Registers the metrics of a link.
pub(in crate::service) fn register(metrics: &Metrics, link: &Arc<Link>) {
    metrics.register(Box::new(LinkCollector(link.clone())));
}

impl Collector for LinkCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let link = &self.0;
        let nodes = link.nodes().borrow().len();
        let gauges = [
            ("nodes", "Nodes that Redis lists", nodes as u64),
            (
                "connected",
                "Whether Redis answers and lists this node",
                link.is_available().into(),
            ),
            (
                "lease",
                "Whether this node has a lease",
                link.has_lease().into(),
            ),
            (
                "inbox_lag",
                "Entries of the inbox that were unread when the lease was last renewed",
                link.lag(),
            ),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(value as i64);
            let name = format!("cluster_{name}");
            metric.encode(encoder.encode_descriptor(&name, help, None, metric.metric_type())?)?;
        }
        let counts = link.counts();
        for (name, help, figure) in COUNTERS {
            let metric = ConstCounter::new(figure(&counts));
            let name = format!("cluster_{name}");
            metric.encode(encoder.encode_descriptor(&name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}

const COUNTERS: [(&str, &str, Figure); 11] = [
    (
        "messages_sent",
        "Messages of clients for members on other nodes",
        |counts| counts.frames_sent,
    ),
    (
        "messages_received",
        "Messages of clients of other nodes",
        |counts| counts.frames_received,
    ),
    (
        "messages_dropped",
        "Messages of clients for other nodes that were dropped",
        |counts| counts.frames_dropped,
    ),
    (
        "batches_lost",
        "Batches of messages from other nodes that did not arrive",
        |counts| counts.batches_lost,
    ),
    (
        "batches_repeated",
        "Batches of messages that arrived again",
        |counts| counts.batches_repeated,
    ),
    (
        "requests_dropped",
        "Requests to other nodes, and replies, that were not sent",
        |counts| counts.messages_dropped,
    ),
    (
        "entries_unknown",
        "Entries of the inbox from a later version",
        |counts| counts.entries_unknown,
    ),
    (
        "inbox_overruns",
        "Times that entries of the inbox were removed unread",
        |counts| counts.inbox_overruns,
    ),
    (
        "redis_connection_losses",
        "Times that the connection to Redis was lost",
        |counts| counts.connection_losses,
    ),
    (
        "rosters_lost",
        "Times that Redis lost the rosters",
        |counts| counts.rosters_lost,
    ),
    (
        "evictions",
        "Times that this node was evicted and registered again",
        |counts| counts.evictions,
    ),
];
