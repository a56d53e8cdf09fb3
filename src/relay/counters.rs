//! The metrics of a shard: its thread writes them, and each scrape reads them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::ingress::{RejectCounters, RejectReason};
use crate::turn::{DropReason, ErrorReason, Transport};

use super::totals::RelayTotals;
use super::udp_listeners::UdpListeners;

/// The path of a relayed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// From one client of this relay to another, without a relay socket.
    Hairpin,
    /// From one client to another that belongs to another shard.
    CrossShard,
    ToPeer,
    FromPeer,
}

const PATHS: [(Path, &str); 4] = [
    (Path::Hairpin, "hairpin"),
    (Path::CrossShard, "hairpin_cross_shard"),
    (Path::ToPeer, "to_peer"),
    (Path::FromPeer, "from_peer"),
];

const TRANSPORTS: [(Transport, &str); 3] = [
    (Transport::Udp, "udp"),
    (Transport::Tcp, "tcp"),
    (Transport::Tls, "tls"),
];

/// The name of a transport in metrics and log lines.
pub(super) fn transport_name(transport: Transport) -> &'static str {
    TRANSPORTS[transport as usize].1
}

/// A counter for each transport and path.
type PathCounters = [[AtomicU64; PATHS.len()]; TRANSPORTS.len()];

#[derive(Debug, Default)]
pub struct Counters {
    packets: PathCounters,
    bytes: PathCounters,
    granted: AtomicU64,
    refused: [AtomicU64; ErrorReason::ALL.len()],
    dropped: [AtomicU64; DropReason::ALL.len()],
    /// Datagrams that the kernel did not take, because of full buffers or unreachable peers.
    unsent: AtomicU64,
    /// Packets that were lost because a stream client read too slowly.
    stream_overflow: AtomicU64,
    /// Messages of clients that belong to another shard.
    redirected: AtomicU64,
    /// Packets that were lost because the queue of another shard was full.
    shard_overflow: AtomicU64,
    /// Clients whose path died in the middle of a call.
    paths_lost: AtomicU64,
    /// ICMP errors that were reported to a client.
    icmp: AtomicU64,
    allocations: AtomicU64,
    streams: AtomicU64,
}

/// Adds to a counter. There is one writer, so no atomic read-modify-write is needed.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Counters {
    /// `transport` is that of the client; for a packet between two clients, that of the sender.
    pub fn relayed(&self, transport: Transport, path: Path, bytes: usize) {
        add(&self.packets[transport as usize][path as usize], 1);
        add(&self.bytes[transport as usize][path as usize], bytes as u64);
    }

    pub fn granted(&self) {
        add(&self.granted, 1);
    }

    pub fn refused(&self, refusal: ErrorReason) {
        add(&self.refused[refusal as usize], 1);
    }

    pub fn dropped(&self, dropped: DropReason) {
        add(&self.dropped[dropped as usize], 1);
    }

    pub fn unsent(&self, count: usize) {
        add(&self.unsent, count as u64);
    }

    pub fn stream_overflow(&self) {
        add(&self.stream_overflow, 1);
    }

    pub fn redirected(&self) {
        add(&self.redirected, 1);
    }

    pub fn shard_overflow(&self) {
        add(&self.shard_overflow, 1);
    }

    pub fn path_lost(&self) {
        add(&self.paths_lost, 1);
    }

    pub fn icmp(&self) {
        add(&self.icmp, 1);
    }

    /// Adds the relayed packets with their bytes, and the lost ones, to `totals`.
    pub(super) fn add_to(&self, totals: &mut RelayTotals) {
        let sum = |counters: &mut dyn Iterator<Item = &AtomicU64>| -> u64 {
            counters
                .map(|counter| counter.load(Ordering::Relaxed))
                .sum()
        };
        let lost = [&self.unsent, &self.stream_overflow, &self.shard_overflow];
        totals.packets += sum(&mut self.packets.iter().flatten());
        totals.bytes += sum(&mut self.bytes.iter().flatten());
        totals.dropped += sum(&mut self.dropped.iter().chain(lost));
    }

    pub fn set_gauges(&self, allocations: usize, streams: usize) {
        self.allocations
            .store(allocations as u64, Ordering::Relaxed);
        self.streams.store(streams as u64, Ordering::Relaxed);
    }
}

/// Encodes the metrics of a relay, summed over its shards.
#[derive(Debug)]
pub struct RelayCollector {
    pub shards: Vec<Arc<Counters>>,
    pub listeners: UdpListeners,
    pub rejected: Arc<RejectCounters>,
}

impl RelayCollector {
    /// The number of existing allocations.
    pub fn allocations(&self) -> u64 {
        self.sum(|counters| &counters.allocations)
    }

    /// Datagrams that the kernel dropped because the buffer of a listener was full, by its address.
    fn receive_drops(&self) -> Vec<(Labels, u64)> {
        let rows = self.listeners.receive_drops().into_iter();
        rows.map(|(address, count)| (vec![("address", address.to_string())], count))
            .collect()
    }

    fn sum(&self, figure: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        let shards = self.shards.iter().map(|shard| figure(shard));
        shards.map(|figure| figure.load(Ordering::Relaxed)).sum()
    }

    fn by_path(&self, figures: fn(&Counters) -> &PathCounters) -> Vec<(Labels, u64)> {
        let row = |(transport, name): &(Transport, &str), (path, way): &(Path, &str)| {
            let labels = [("transport", *name), ("path", *way)];
            let labels = labels.map(|(label, value)| (label, value.to_owned()));
            let count = self.sum(|c| &figures(c)[*transport as usize][*path as usize]);
            (labels.into(), count)
        };
        let rows = TRANSPORTS.iter();
        rows.flat_map(|transport| PATHS.iter().map(|path| row(transport, path)))
            .collect()
    }

    /// Streams that were rejected before their first message, by the reason's label.
    fn rejected(&self) -> [(&'static str, u64); 4] {
        let count = |reason| self.rejected.get(reason);
        let too_many = count(RejectReason::TotalLimit) + count(RejectReason::SourceLimit);
        [
            ("connection limit", too_many),
            ("proxy header", count(RejectReason::ProxyHeader)),
            ("tls handshake", count(RejectReason::Handshake)),
            ("evicted", count(RejectReason::Evicted)),
        ]
    }

    fn by_reason<const N: usize>(
        &self,
        reasons: &[impl fmt::Display; N],
        figures: fn(&Counters) -> &[AtomicU64; N],
    ) -> Vec<(Labels, u64)> {
        let rows = reasons.iter().enumerate().map(|(index, reason)| {
            let labels = vec![("reason", reason.to_string())];
            (labels, self.sum(|counters| &figures(counters)[index]))
        });
        rows.collect()
    }
}

/// The labels of a metric.
type Labels = Vec<(&'static str, String)>;

/// Selects a counter of a shard.
type Figure = fn(&Counters) -> &AtomicU64;

impl Collector for RelayCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = |name: &str, help: &str, rows: Vec<(Labels, u64)>| {
            let kind = prometheus_client::metrics::MetricType::Counter;
            let mut descriptor = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, count) in rows {
                let metric = ConstCounter::new(count);
                metric.encode(descriptor.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let packets = self.by_path(|counters| &counters.packets);
        family("turn_relayed_packets", "Packets relayed", packets)?;
        let bytes = self.by_path(|counters| &counters.bytes);
        let help = "Bytes of application data relayed";
        family("turn_relayed_bytes", help, bytes)?;
        let refused = self.by_reason(&ErrorReason::ALL, |counters| &counters.refused);
        family("turn_error_responses", "Error responses", refused)?;
        let dropped = self.by_reason(&DropReason::ALL, |counters| &counters.dropped);
        family("turn_dropped", "Datagrams dropped", dropped)?;

        let rejected = self.rejected();
        let rejected = rejected.map(|(why, count)| (vec![("reason", why.to_owned())], count));
        let help = "Streams rejected before their first message";
        family("turn_streams_rejected", help, rejected.to_vec())?;

        let help = "Datagrams that the kernel dropped because the buffer of a listener was full";
        family("turn_receive_drops", help, self.receive_drops())?;

        let figures: [(_, _, Figure); 7] = [
            ("turn_success_responses", "Success responses", |c| {
                &c.granted
            }),
            (
                "turn_send_errors",
                "Datagrams that the kernel did not take",
                |c| &c.unsent,
            ),
            (
                "turn_stream_overflow",
                "Packets lost because a stream client read too slowly",
                |c| &c.stream_overflow,
            ),
            (
                "turn_redirected_messages",
                "Messages received by a shard that does not serve the client",
                |c| &c.redirected,
            ),
            (
                "turn_shard_overflow",
                "Packets lost because the queue of another shard was full",
                |c| &c.shard_overflow,
            ),
            (
                "turn_paths_lost",
                "Clients whose path died in the middle of a call",
                |c| &c.paths_lost,
            ),
            ("turn_icmp", "ICMP errors reported to a client", |c| &c.icmp),
        ];
        for (name, help, counter) in figures {
            let metric = ConstCounter::new(self.sum(counter));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let allocations = self.allocations();
        // Every shard counts all streams.
        let streams = self
            .shards
            .first()
            .map(|c| c.streams.load(Ordering::Relaxed));
        for (name, help, count) in [
            ("turn_allocations", "Existing allocations", allocations),
            ("turn_streams", "Open TURN streams", streams.unwrap_or(0)),
        ] {
            let metric = ConstGauge::new(count as i64);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}
