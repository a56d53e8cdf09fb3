//! The clock rate of a stream, from its timestamps, and its jitter (RFC 3550 section A.8).

use std::time::Duration;

use crate::clock::Mono;

/// The clock rates of WebRTC codecs, in Hz.
const RATES: [u32; 4] = [8_000, 16_000, 48_000, 90_000];

/// The shortest time that shows the slope of the timestamps.
const SHORTEST_SLOPE: Duration = Duration::from_millis(400);

/// A difference in transit time above this is a jump of the sender's clock or a pause, not jitter.
const MAX_TRANSIT_CHANGE_NS: u64 = 1_000_000_000;

/// Fractional bits of [`Timing::tick_ns`].
const TICK_BITS: u32 = 10;

/// The tick of a clock whose rate is unknown: any two timestamps are so far apart that their packets
/// take the rare path.
const UNKNOWN_TICK: u32 = u32::MAX;

/// The timing of one stream. Jitter is measured between two packets of every eight, which have the
/// same mean deviation as all.
#[derive(Debug)]
pub(super) struct Timing {
    /// The last sampled packet.
    sequence: u16,
    timestamp: u32,
    arrival: Mono,
    /// A tick of the clock in nanoseconds, with [`TICK_BITS`] fractional bits, or [`UNKNOWN_TICK`].
    tick_ns: u32,
    /// 16 times the jitter, in nanoseconds.
    jitter16_ns: u64,
    /// The start of the slope.
    slope_start: (Mono, u32),
}

impl Timing {
    pub(super) fn new(sequence: u16, timestamp: u32, arrival: Mono) -> Timing {
        Timing {
            sequence,
            timestamp,
            arrival,
            tick_ns: UNKNOWN_TICK,
            jitter16_ns: 0,
            slope_start: (arrival, timestamp),
        }
    }

    /// Returns the mean deviation of the transit time.
    pub(super) fn jitter(&self) -> Duration {
        Duration::from_nanos(self.jitter16_ns / 16)
    }

    /// Returns whether [`Timing::record`] considers the packet with this number.
    #[inline(always)]
    pub(super) fn is_sampled(sequence: u16) -> bool {
        sequence % 8 < 2
    }

    /// Adds a packet, if it is to be sampled. Returns true.
    #[inline(never)]
    pub(super) fn record(&mut self, sequence: u16, timestamp: u32, arrival: Mono) -> bool {
        if !Timing::is_sampled(sequence) {
            return true;
        }
        // Signed: a late packet has an earlier timestamp.
        let ticks = i64::from(timestamp.wrapping_sub(self.timestamp) as i32);
        let sent_ns = (ticks * i64::from(self.tick_ns)) >> TICK_BITS;
        let arrived_ns = arrival.0.wrapping_sub(self.arrival.0) as i64;
        let change_ns = (arrived_ns - sent_ns).unsigned_abs();
        let follows = sequence == self.sequence.wrapping_add(1);
        self.sequence = sequence;
        self.arrival = arrival;
        self.timestamp = timestamp;
        if change_ns > MAX_TRANSIT_CHANGE_NS {
            self.restart_slope_or_measure();
        } else if follows {
            self.jitter16_ns = self.jitter16_ns + change_ns - ((self.jitter16_ns + 8) >> 4);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn restart_slope_or_measure(&mut self) {
        if self.tick_ns == UNKNOWN_TICK {
            self.jitter16_ns = 0;
            self.measure();
        } else {
            self.slope_start = (self.arrival, self.timestamp);
        }
    }

    /// Selects the clock rate that is nearest to the slope since the last call, if enough time has
    /// passed.
    pub(super) fn measure(&mut self) {
        let (start, first) = self.slope_start;
        let elapsed = self.arrival.since(start);
        if elapsed < SHORTEST_SLOPE {
            return;
        }
        self.slope_start = (self.arrival, self.timestamp);
        let ticks = self.timestamp.wrapping_sub(first) as i32;
        let slope = f64::from(ticks) / elapsed.as_secs_f64();
        if let Some(rate) = nearest_rate(slope) {
            self.tick_ns = (1_000_000_000_u64 << TICK_BITS).div_euclid(u64::from(rate)) as u32;
        }
    }
}

/// Returns the clock rate with the smallest ratio to `slope`, in Hz. A slope of less than half of the
/// lowest rate, or more than twice the highest one, is none: the sender's clock was set.
fn nearest_rate(slope: f64) -> Option<u32> {
    let [lowest, .., highest] = RATES.map(f64::from);
    if !(lowest / 2.0..=highest * 2.0).contains(&slope) {
        return None;
    }
    let ratio = |rate: &u32| (slope / f64::from(*rate)).ln().abs();
    RATES
        .into_iter()
        .min_by(|one, other| ratio(one).total_cmp(&ratio(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_nearest_to_the_slope_is_selected() {
        for (slope, rate) in [
            (7_900.0, Some(8_000)),
            (15_000.0, Some(16_000)),
            (50_000.0, Some(48_000)),
            (88_000.0, Some(90_000)),
            (100.0, None),
            (-48_000.0, None),
            (500_000.0, None),
        ] {
            assert_eq!(nearest_rate(slope), rate, "{slope}");
        }
    }

    #[test]
    fn packets_at_even_intervals_have_no_jitter() {
        let at = |index: u64| Mono(index * 20_000_000);
        let mut timing = Timing::new(0, u32::MAX - 5_000, at(0));
        for index in 1..1_000 {
            let timestamp = (u32::MAX - 5_000).wrapping_add(960 * index as u32);
            timing.record(index as u16, timestamp, at(index));
        }
        assert!(timing.jitter() < Duration::from_micros(1), "{timing:?}");
    }

    #[test]
    fn packets_that_are_early_and_late_in_turn_have_the_jitter_of_their_distance() {
        let at = |index: u64| Mono(1_000_000_000 + index * 20_000_000 + index % 2 * 4_000_000);
        let mut timing = Timing::new(0, 0, at(0));
        for index in 1..1_000 {
            timing.record(index as u16, 960 * index as u32, at(index));
        }
        let jitter = timing.jitter().as_micros();
        assert!((3_990..=4_010).contains(&jitter), "{jitter}");
    }

    #[test]
    fn a_jump_of_the_clock_is_not_jitter() {
        let at = |index: u64| Mono(index * 20_000_000);
        let mut timing = Timing::new(0, 0, at(0));
        for index in 1..1_000 {
            let jumped = if index > 500 { 3_000_000_000 } else { 0 };
            timing.record(index as u16, jumped + 960 * index as u32, at(index));
        }
        assert!(timing.jitter() < Duration::from_micros(1), "{timing:?}");
    }
}
