//! Media: ready clients send packets to the other client of their pair at a fixed rate, and count the packets
//! received.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::Events;

use crate::clock::{self, Mono};
use crate::stun::{CHANNEL_HEADER, ChannelData};
use crate::url::Transport;

use super::client::{CHANNEL, media};
use super::latency::Latency;
use super::schedule::{Pace, pairs_of, send_order};
use super::sysinfo;
use super::worker::{ErrorCounts, Worker, merge};

/// Size of the stamp at the start of each packet: the run's tag and the send time.
const STAMP_BYTES: usize = 12;

/// Minimum size of a packet.
pub const MIN_PACKET_BYTES: usize = STAMP_BYTES;

/// The parameters of a run.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub people: usize,
    /// Number of calls of this thread.
    pub calls: usize,
    /// Interval between two packets of a person.
    pub interval: Duration,
    pub size: usize,
    pub time: Duration,
    /// Time to receive late packets after the last one was sent.
    pub grace: Duration,
    /// Identifies the packets of this run.
    pub tag: u32,
}

/// The counters of a run.
#[derive(Clone)]
pub(super) struct RunStats {
    /// Packets due at the configured rate; fewer were sent if the generator was too slow.
    pub planned: u64,
    pub sent: u64,
    pub received: u64,
    pub latency: Latency,
    pub errors: ErrorCounts,
    /// CPU time of the busiest thread.
    pub busiest: Duration,
    /// CPU time of all threads.
    pub busy: Duration,
}

impl Worker {
    /// Exchanges media.
    pub(super) fn run(&mut self, run: Run) -> io::Result<RunStats> {
        let whole = run.calls * pairs_of(run.people);
        let send_order = send_order(&self.pairs[..whole.min(self.pairs.len())], run.people);
        let at_once = run.people - 1;
        let people = send_order.len() / at_once;
        let mut stats = RunStats::empty();
        let mut packet = self.packet(run);
        let mut events = Events::with_capacity(1024);
        let cpu = sysinfo::thread_cpu();
        let start = clock::now().mono;
        let mut pace = Pace::new(start, run.interval, people);
        let (end, last) = (start + run.time, start + run.time + run.grace);
        let mut all_sent = false;
        loop {
            let now = clock::now().mono;
            if self.shared.stopped() || now >= last {
                break;
            }
            if now >= end && all_sent && stats.received >= stats.sent {
                break;
            }
            // The last packets are those that are due at the end.
            all_sent = now >= end;
            let (late, due) = pace.due(now.min(end));
            stats.planned += late * at_once as u64;
            for slot in due {
                let first = (slot % people.max(1) as u64) as usize * at_once;
                for &client in &send_order[first..first + at_once] {
                    self.send(client, &mut packet, &mut stats);
                }
            }
            self.wait(&mut events, Duration::from_millis(1))?;
            for event in &events {
                self.listen(event.token().0, run.tag, &mut stats);
            }
        }
        stats.busy = sysinfo::thread_cpu().saturating_sub(cpu);
        stats.busiest = stats.busy;
        Ok(stats)
    }

    fn packet(&self, run: Run) -> Vec<u8> {
        let header = ChannelData {
            number: CHANNEL,
            len: run.size,
        };
        let mut packet = header.header().to_vec();
        packet.extend_from_slice(&run.tag.to_be_bytes());
        packet.resize(CHANNEL_HEADER + run.size, 0);
        if self.shared.target.transport == Transport::Tcp {
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet
    }

    fn send(&mut self, client: usize, packet: &mut [u8], stats: &mut RunStats) {
        stats.planned += 1;
        let now = clock::now().mono.0;
        packet[CHANNEL_HEADER + 4..][..8].copy_from_slice(&now.to_be_bytes());
        match self.clients[client].send(packet) {
            Ok(()) => {
                stats.sent += 1;
                self.shared.sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => *stats.errors.entry(error).or_default() += 1,
        }
    }

    /// Receives the packets of a client.
    fn listen(&mut self, index: usize, tag: u32, stats: &mut RunStats) {
        let client = &mut self.clients[index];
        let flushed = client.flush();
        let received = client.receive(&mut self.buffer, |bytes| {
            let stamp = media(bytes).and_then(|data| data.first_chunk::<STAMP_BYTES>());
            let Some((own, sent)) = stamp.and_then(|stamp| stamp.split_first_chunk::<4>()) else {
                return;
            };
            if *own == tag.to_be_bytes()
                && let Ok(sent) = sent.try_into()
            {
                stats.received += 1;
                let sent = Mono(u64::from_be_bytes(sent));
                stats.latency.record(clock::now().mono.since(sent));
            }
        });
        if let Err(error) = flushed.and(received) {
            *stats.errors.entry(error).or_default() += 1;
            // A broken stream is closed; an error of a UDP socket belongs to an earlier packet.
            if self.shared.target.transport == Transport::Tcp {
                self.clients[index].abandon();
            }
        }
    }
}

impl RunStats {
    pub(super) fn empty() -> RunStats {
        RunStats {
            planned: 0,
            sent: 0,
            received: 0,
            latency: Latency::new(),
            errors: ErrorCounts::new(),
            busiest: Duration::ZERO,
            busy: Duration::ZERO,
        }
    }

    /// Adds what another thread did at the same time.
    pub(super) fn merge(&mut self, other: &RunStats) {
        self.planned += other.planned;
        self.sent += other.sent;
        self.received += other.received;
        self.latency.merge(&other.latency);
        merge(&mut self.errors, &other.errors);
        self.busiest = self.busiest.max(other.busiest);
        self.busy += other.busy;
    }

    /// Returns the lost packets as a percentage of the sent ones.
    pub(super) fn lost_percent(&self) -> f64 {
        let lost = self.sent.saturating_sub(self.received);
        100.0 * lost as f64 / self.sent.max(1) as f64
    }
}
