//! What a shard has done: written by its thread alone, read at each scrape.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::turn::{Dropped, Refusal, Transport};

/// The way that a relayed packet took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// From one of our clients to another, without a relay socket.
    Hairpin,
    ToPeer,
    FromPeer,
}

const PATHS: [(Path, &str); 3] = [
    (Path::Hairpin, "hairpin"),
    (Path::ToPeer, "to_peer"),
    (Path::FromPeer, "from_peer"),
];

const TRANSPORTS: [(Transport, &str); 2] = [(Transport::Udp, "udp"), (Transport::Tcp, "tcp")];

/// As figures and log lines spell it.
pub fn transport_name(transport: Transport) -> &'static str {
    TRANSPORTS[transport as usize].1
}

/// A figure for each transport and path.
type Ways = [[AtomicU64; PATHS.len()]; TRANSPORTS.len()];

#[derive(Debug, Default)]
pub struct Counters {
    packets: Ways,
    bytes: Ways,
    granted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    dropped: [AtomicU64; Dropped::ALL.len()],
    /// Datagrams that the kernel did not take: full buffers, unreachable peers.
    unsent: AtomicU64,
    /// Packets that a stream's reader was too slow for.
    stream_overflow: AtomicU64,
    allocations: AtomicU64,
    streams: AtomicU64,
}

/// One writer: no need for a locked instruction.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Counters {
    /// `transport` is the client's; of the hairpin's two, the sender's.
    pub fn relayed(&self, transport: Transport, path: Path, bytes: usize) {
        add(&self.packets[transport as usize][path as usize], 1);
        add(&self.bytes[transport as usize][path as usize], bytes as u64);
    }

    pub fn granted(&self) {
        add(&self.granted, 1);
    }

    pub fn refused(&self, refusal: Refusal) {
        add(&self.refused[refusal as usize], 1);
    }

    pub fn dropped(&self, dropped: Dropped) {
        add(&self.dropped[dropped as usize], 1);
    }

    pub fn unsent(&self, count: usize) {
        add(&self.unsent, count as u64);
    }

    pub fn stream_overflow(&self) {
        add(&self.stream_overflow, 1);
    }

    pub fn living(&self, allocations: usize, streams: usize) {
        self.allocations
            .store(allocations as u64, Ordering::Relaxed);
        self.streams.store(streams as u64, Ordering::Relaxed);
    }
}

/// Writes a relay's figures at each scrape.
#[derive(Debug)]
pub struct RelayCollector(pub Arc<Counters>);

impl Collector for RelayCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters = &self.0;
        let mut family = |name: &str, help: &str, rows: Vec<(Labels, u64)>| {
            let kind = prometheus_client::metrics::MetricType::Counter;
            let mut descriptor = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, count) in rows {
                let metric = ConstCounter::new(count);
                metric.encode(descriptor.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let packets = by_way(&counters.packets);
        family("turn_relayed_packets", "Packets relayed", packets)?;
        let bytes = by_way(&counters.bytes);
        let help = "Bytes of application data relayed";
        family("turn_relayed_bytes", help, bytes)?;
        let refused = by_reason(&Refusal::ALL, &counters.refused);
        family("turn_refused", "Requests refused", refused)?;
        let dropped = by_reason(&Dropped::ALL, &counters.dropped);
        family("turn_dropped", "Datagrams that led to nothing", dropped)?;

        for (name, help, count) in [
            ("turn_granted", "Requests granted", &counters.granted),
            (
                "turn_unsent",
                "Datagrams that the kernel did not take",
                &counters.unsent,
            ),
            (
                "turn_stream_overflow",
                "Packets that a stream was too slow for",
                &counters.stream_overflow,
            ),
        ] {
            let metric = ConstCounter::new(read(count));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        for (name, help, count) in [
            (
                "turn_allocations",
                "Living allocations",
                &counters.allocations,
            ),
            ("turn_streams", "Open TURN streams", &counters.streams),
        ] {
            let metric = ConstGauge::new(read(count) as i64);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}

/// The labels of a figure.
type Labels = Vec<(&'static str, String)>;

fn by_way(figures: &Ways) -> Vec<(Labels, u64)> {
    let row = |transport: &str, path: &str, count| {
        let labels = [("transport", transport), ("path", path)];
        let labels = labels.map(|(label, value)| (label, value.to_owned()));
        (labels.into(), read(count))
    };
    let ways = TRANSPORTS.iter().zip(figures);
    ways.flat_map(|((_, transport), figures)| {
        let paths = PATHS.iter().zip(figures);
        paths.map(|((_, path), count)| row(transport, path, count))
    })
    .collect()
}

fn by_reason(reasons: &[impl fmt::Display], figures: &[AtomicU64]) -> Vec<(Labels, u64)> {
    let rows = reasons.iter().zip(figures);
    rows.map(|(reason, count)| (vec![("reason", reason.to_string())], read(count)))
        .collect()
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
