//! Generated streams with every fault of a network, and the silence of a client.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::streams::Streams;
use super::*;
use crate::clock::Mono;

const START: Mono = Mono(5_000_000_000);
const INTERVAL: Duration = Duration::from_millis(20);
const TICKS: u32 = 960;

fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.resize(60, 0);
    packet
}

fn after(packets: u32) -> Mono {
    START + INTERVAL * packets
}

/// Records a media packet as a monitor does, and returns whether it is one.
fn record(streams: &mut Streams, packet: &[u8], now: Mono) -> bool {
    streams.record_next::<true>(packet, now, u64::MAX)
        || streams.record_any(packet, now, 0).is_some()
}

fn from_client(monitor: &mut LinkMonitor, packet: &[u8], now: Mono) -> Option<PathEvent> {
    if monitor.record_from_client(packet, now) {
        return None;
    }
    monitor.record_any_from_client(packet, now, 0)
}

fn to_client(monitor: &mut LinkMonitor, packet: &[u8], now: Mono, bytes: u64) {
    if !monitor.record_to_client(packet, now) {
        monitor.record_any_to_client(packet, now, bytes);
    }
}

/// The fate of a packet on its way.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// After this number of its successors.
    Late(usize),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        20 => Just(Fate::Arrives),
        3 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => (1..30_usize).prop_map(Fate::Late),
    ];
    prop::collection::vec(fate, 1..400)
}

/// A stream from its first packet to its end, or to the next change of its SSRC.
#[derive(Debug, Clone)]
struct Sent {
    first: u16,
    first_timestamp: u32,
    fates: Vec<Fate>,
    /// The sender's clock jumps by this number of ticks before this packet.
    jump: (usize, u32),
}

fn sent() -> impl Strategy<Value = Sent> {
    let jump = (0..400_usize, prop_oneof![Just(0), any::<u32>()]);
    (any::<u16>(), any::<u32>(), fates(), jump).prop_map(|(first, first_timestamp, fates, jump)| {
        Sent {
            first,
            first_timestamp,
            fates,
            jump,
        }
    })
}

impl Sent {
    /// Returns the indexes of the packets in the order of their arrival.
    fn arrivals(&self) -> Vec<usize> {
        let mut arrivals: Vec<(usize, usize)> = Vec::new();
        for (index, fate) in self.fates.iter().enumerate() {
            match *fate {
                Fate::Arrives => arrivals.push((2 * index, index)),
                Fate::Lost => {}
                Fate::Twice => arrivals.extend([(2 * index, index), (2 * index + 3, index)]),
                Fate::Late(by) => arrivals.push((2 * (index + by) + 1, index)),
            }
        }
        arrivals.sort_unstable();
        arrivals.into_iter().map(|(_, index)| index).collect()
    }

    fn packet(&self, ssrc: u32, index: usize) -> Vec<u8> {
        let (at, jump) = self.jump;
        let jump = if index >= at { jump } else { 0 };
        let sequence = self.first.wrapping_add(index as u16);
        let ticks = TICKS.wrapping_mul(index as u32).wrapping_add(jump);
        packet(ssrc, sequence, self.first_timestamp.wrapping_add(ticks))
    }
}

proptest! {
    #[test]
    fn the_loss_of_a_stream_with_every_fault_is_exact(streams in prop::collection::vec(sent(), 1..4)) {
        let (mut all, mut time) = (Streams::new(START), 0);
        let mut expected = Loss::default();
        for (ssrc, sent) in (7..).zip(&streams) {
            let arrivals = sent.arrivals();
            let distinct: BTreeSet<_> = arrivals.iter().copied().collect();
            for index in arrivals {
                time += 1;
                prop_assert!(record(&mut all, &sent.packet(ssrc, index), after(time)));
            }
            if let (Some(first), Some(last)) = (distinct.first(), distinct.last()) {
                let length = last - first + 1;
                expected.expected += length as u64;
                expected.lost += (length - distinct.len()) as u64;
            }
        }
        let total = all.total_loss().unwrap_or_default();
        prop_assert_eq!(total, expected);
        let recent = all.recent_loss().unwrap_or_default();
        prop_assert!(recent.expected <= total.expected, "{:?} of {:?}", recent, total);
    }

    #[test]
    fn streams_side_by_side_are_counted_separately(one in sent(), other in sent()) {
        let (mut together, mut alone) = (Streams::new(START), [Streams::new(START), Streams::new(START)]);
        let arrivals = [one.arrivals(), other.arrivals()];
        for at in 0..arrivals[0].len().max(arrivals[1].len()) {
            for (which, sent) in [&one, &other].into_iter().enumerate() {
                if let Some(index) = arrivals[which].get(at) {
                    let packet = sent.packet(which as u32, *index);
                    record(&mut together, &packet, after(at as u32));
                    record(&mut alone[which], &packet, after(at as u32));
                }
            }
        }
        let sum = |pick: fn(Loss) -> u64| -> u64 {
            alone.iter().filter_map(Streams::total_loss).map(pick).sum()
        };
        let total = together.total_loss().unwrap_or_default();
        prop_assert_eq!(total.expected, sum(|loss| loss.expected));
        prop_assert_eq!(total.lost, sum(|loss| loss.lost));
    }

    #[test]
    fn the_jitter_is_that_of_rfc_3550_between_two_packets_of_eight(
        delays_us in prop::collection::vec(0..15_000_u64, 400..800),
        first in any::<u32>(),
    ) {
        let mut timing = clock_rate::Timing::new(0, first, START);
        let (mut expected, mut last) = (0.0_f64, 0.0);
        for (index, delay) in (1..).zip(&delays_us) {
            let arrival = after(index) + Duration::from_micros(*delay);
            timing.record(index as u16, first.wrapping_add(TICKS * index), arrival);
            let delay = *delay as f64;
            // The clock rate is known after 400 ms.
            if index % 8 == 1 && index > 24 {
                expected += ((delay - last).abs() - expected) / 16.0;
            }
            last = delay;
        }
        let measured = timing.jitter().as_micros() as f64;
        // The two may start with different pairs, whose weight is 7 % in the end.
        prop_assert!((measured - expected).abs() <= 1_100.0, "{measured} {expected}");
    }

    #[test]
    fn no_packet_is_too_strange(packets in prop::collection::vec(
        (any::<u64>(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..200
    )) {
        let mut monitor = LinkMonitor::new(Mono(0));
        let mut now = Mono(0);
        for (step, mut packet, is_media) in packets {
            now = Mono(now.0.saturating_add(step >> 20));
            if let Some(first) = packet.first_mut().filter(|_| is_media) {
                *first = *first & 0x3f | 0x80;
            }
            from_client(&mut monitor, &packet, now);
            to_client(&mut monitor, &packet, now, 0);
            monitor.check(now);
            let quality = monitor.quality(now, 0, 0);
            for loss in [quality.up.total, quality.up.recent].into_iter().flatten() {
                prop_assert!(loss.lost <= loss.expected, "{:?}", loss);
            }
        }
    }
}

#[test]
fn a_sender_that_restarts_its_numbers_loses_nothing() {
    let mut all = Streams::new(START);
    for index in 0..100_u16 {
        let sequence = if index < 50 { index } else { 30_000 + index };
        record(&mut all, &packet(1, sequence, 0), after(index.into()));
    }
    let total = all.total_loss().unwrap();
    assert_eq!((total.expected, total.lost), (100, 0));
}

#[test]
fn packets_that_took_a_direct_path_meanwhile_are_not_lost() {
    let mut all = Streams::new(START);
    for (sequence, at) in [(0, 0), (1, 1), (2, 2), (500, 500), (501, 501)] {
        record(&mut all, &packet(1, sequence, 0), after(at));
    }
    let total = all.total_loss().unwrap();
    assert_eq!((total.expected, total.lost), (5, 0));
    // An outage of a second is one.
    record(&mut all, &packet(1, 551, 0), after(551));
    assert_eq!(all.total_loss().unwrap().lost, 49);
}

#[test]
fn the_window_covers_the_last_5_to_10_seconds() {
    let mut all = Streams::new(START);
    for index in 0..2_000_u16 {
        // Every second packet is lost in the first 20 of 40 seconds.
        if index >= 1_000 || index.is_multiple_of(2) {
            record(
                &mut all,
                &packet(1, index, TICKS * u32::from(index)),
                after(index.into()),
            );
        }
    }
    assert_eq!(all.recent_loss().map(|loss| loss.lost), Some(0));
    assert_eq!(all.total_loss().map(|loss| loss.lost), Some(500));
}

#[test]
fn more_streams_than_there_is_room_for_replace_the_oldest_and_keep_the_totals() {
    let mut all = Streams::new(START);
    for ssrc in 0..100 {
        for sequence in [1, 3] {
            record(&mut all, &packet(ssrc, sequence, 0), after(ssrc));
        }
    }
    assert_eq!(all.len(), 16);
    let total = all.total_loss().unwrap();
    assert_eq!((total.expected, total.lost), (300, 84 + 16));
}

/// Relays `packets` to a client whose reports it records, with one packet of `every` lost before the
/// relay and one of `every` behind it. Returns the quality at the end.
fn reported(packets: u32, every: u32) -> Quality {
    let mut monitor = LinkMonitor::new(START);
    let (mut lost, mut highest, mut bytes) = (0, 0, 0);
    for index in 0..packets {
        let now = after(index);
        let is_lost_before = index % every == 3;
        let is_lost_behind = index % every == 7;
        if !is_lost_before {
            bytes += 60;
            to_client(
                &mut monitor,
                &packet(9, index as u16, TICKS * index),
                now,
                bytes,
            );
        }
        lost += i64::from(is_lost_before || is_lost_behind);
        highest = index;
        if index % 100 == 99 {
            let jitter = Duration::from_millis(4);
            let (ssrc, unknown) = (
                9,
                StreamReport {
                    ssrc: 10,
                    lost: 1_000,
                    jitter,
                },
            );
            monitor.record_reports(&[StreamReport { ssrc, lost, jitter }, unknown], now);
        }
    }
    monitor.quality(after(highest), 0, bytes)
}

#[test]
fn the_loss_behind_the_relay_is_the_reported_loss_minus_the_loss_before_it() {
    let quality = reported(2_000, 50);
    let total = quality.down.total.unwrap();
    // Of 1,900 packets between the first and the last report, 38 were lost on each link.
    assert_eq!((total.expected, total.lost), (1_862, 38));
    let recent = quality.down.recent.unwrap();
    assert!((250..=500).contains(&recent.expected), "{recent:?}");
    assert!((1.9..2.2).contains(&recent.percent()), "{recent:?}");
    assert_eq!(quality.down.jitter, Some(Duration::from_millis(4)));
    assert_eq!(
        quality.up,
        LinkQuality {
            silent: None,
            ..quality.up
        }
    );
}

#[test]
fn a_client_without_reports_has_no_loss_behind_the_relay() {
    let quality = reported(99, 50);
    assert_eq!(
        (quality.down.total, quality.down.recent, quality.down.jitter),
        (None, None, None)
    );
    assert!(quality.down.kbps > 0);
}

/// A call of two, seen from the monitor of one: it sends a packet every 20 ms, and so does its peer.
struct Call {
    monitor: LinkMonitor,
    now: Mono,
    sequence: u16,
}

impl Call {
    fn new() -> Call {
        Call {
            monitor: LinkMonitor::new(START),
            now: START,
            sequence: 0,
        }
    }

    /// Continues the call in steps of 20 ms. Returns when the path was lost, as the time since the start
    /// of this part.
    fn run(&mut self, time: Duration, sends: bool, peer_sends: bool) -> Option<Duration> {
        self.run_with(time, |_| sends, |_| peer_sends)
    }

    fn run_with(
        &mut self,
        time: Duration,
        sends: impl Fn(u32) -> bool,
        peer_sends: impl Fn(u32) -> bool,
    ) -> Option<Duration> {
        let (start, mut lost) = (self.now, None);
        for step in 0..time.as_millis() as u32 / 20 {
            self.now = self.now + INTERVAL;
            if self.monitor.check(self.now) {
                lost = Some(self.now.since(start));
            }
            self.sequence = self.sequence.wrapping_add(1);
            let media = packet(1, self.sequence, 0);
            if sends(step) {
                from_client(&mut self.monitor, &media, self.now);
            }
            if peer_sends(step) {
                to_client(&mut self.monitor, &media, self.now, 0);
            }
        }
        lost
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_client_that_goes_silent_is_noticed_after_700_ms() {
    let mut call = Call::new();
    assert_eq!(call.run(seconds(10), true, true), None);
    let lost = call.run(seconds(5), false, true).unwrap();
    assert!((700..=760).contains(&lost.as_millis()), "{lost:?}");
    assert!(call.monitor.quality(call.now, 0, 0).path_lost);
    assert_eq!(
        call.run(seconds(20), false, true),
        None,
        "it is reported once"
    );
}

#[test]
fn a_client_with_pauses_of_400_ms_is_noticed_after_1200_ms() {
    let mut call = Call::new();
    // A second of speech, then a second with a packet every 400 ms.
    let speaks = |step: u32| step % 100 < 50 || step.is_multiple_of(20);
    let time = Duration::from_millis(20_500);
    assert_eq!(call.run_with(time, speaks, |_| true), None);
    let lost = call.run(seconds(5), false, true).unwrap();
    assert!((1_180..=1_280).contains(&lost.as_millis()), "{lost:?}");
}

#[test]
fn a_path_that_another_one_has_replaced_is_not_lost() {
    let mut call = Call::new();
    call.run(seconds(10), true, true);
    // The peer learns of the new path a round trip later.
    assert_eq!(call.run_with(seconds(20), |_| false, |step| step < 8), None);
    assert!(!call.monitor.quality(call.now, 0, 0).path_lost);
}

#[test]
fn a_client_that_stops_sending_media_and_answers_checks_is_not_lost() {
    let mut call = Call::new();
    call.run(seconds(10), true, true);
    for _ in 0..40 {
        assert_eq!(call.run(Duration::from_millis(500), false, true), None);
        call.monitor.record_request(call.now);
    }
}

#[test]
fn a_listener_is_never_lost() {
    let mut call = Call::new();
    // A receiver report every second is all that it sends.
    let reports = |step: u32| step.is_multiple_of(50);
    assert_eq!(call.run_with(seconds(60), reports, |_| true), None);
}

#[test]
fn a_restored_path_is_reported_and_watched_again() {
    let mut call = Call::new();
    call.run(seconds(10), true, true);
    assert!(call.run(seconds(2), false, true).is_some());
    call.now = call.now + INTERVAL;
    let event = from_client(&mut call.monitor, &packet(1, 1, 0), call.now);
    assert_eq!(event, Some(PathEvent::Restored));
    assert!(!call.monitor.quality(call.now, 0, 0).path_lost);
    assert_eq!(call.run(seconds(10), true, true), None);
    assert!(call.run(seconds(2), false, true).is_some());
}
