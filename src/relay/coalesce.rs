//! Delays a tick for a fraction of a millisecond, so that several packets share a wake-up. At moderate
//! rates, a wake-up is most of the cost of a packet.
//!
//! A tick is delayed only while that saves wake-ups: if packets are so frequent that several arrive during
//! the delay, and if recent delays did bring several. Only relayed packets count. So neither allocations nor a
//! flood of unauthenticated requests delay anything.

use std::time::Duration;

use crate::clock::Mono;

/// Minimum number of packets expected during a delay.
const MIN_PACKETS_PER_DELAY: u64 = 3;

/// Number of packets that is sufficient for a tick: a delay is not longer than these take.
const MAX_PACKETS_PER_DELAY: u64 = 32;

/// The inverse weight of the last tick in the moving average.
const AVERAGE_WEIGHT: u64 = 8;

/// Idle time, in maximum delays, after which the average is not valid any more. It is longer than a tick that
/// fills all slots.
const IDLE_DELAYS: u32 = 2;

/// Maximum number of ticks without a delay after useless delays.
const MAX_SKIPPED_TICKS: u32 = 1024;

/// Decides whether, and for how long, a tick is delayed.
#[derive(Debug)]
pub(super) struct Coalescer {
    max_delay: Duration,
    /// Moving average of the time between two packets, in nanoseconds.
    interval: u64,
    /// The time of the last tick that relayed packets.
    last: Mono,
    /// Whether the current tick was delayed.
    delayed: bool,
    /// Remaining ticks without a delay.
    skipped_ticks: u32,
    /// Ticks to skip after the next useless delay.
    penalty: u32,
}

impl Coalescer {
    /// Limits a delay to `max_delay`; zero disables delays.
    pub(super) fn new(max_delay: Duration) -> Coalescer {
        Coalescer {
            max_delay,
            interval: u64::MAX / AVERAGE_WEIGHT,
            last: Mono(0),
            delayed: false,
            skipped_ticks: 0,
            penalty: 1,
        }
    }

    /// Returns how long to wait before the datagrams that have arrived at `now` are read. Call this only if
    /// datagrams have arrived: otherwise the delay would be useless.
    pub(super) fn delay(&mut self, now: Mono) -> Option<Duration> {
        let max_delay = self.max_delay.as_nanos() as u64;
        let idle = now.since(self.last) > IDLE_DELAYS * self.max_delay;
        if idle
            || self.skipped_ticks > 0
            || self.interval.saturating_mul(MIN_PACKETS_PER_DELAY) > max_delay
        {
            return None;
        }
        self.delayed = true;
        let sufficient = self.interval.saturating_mul(MAX_PACKETS_PER_DELAY);
        Some(Duration::from_nanos(sufficient.min(max_delay)))
    }

    /// Records that a tick, which began at `now`, has relayed `packets`.
    pub(super) fn on_tick(&mut self, packets: usize, now: Mono) {
        self.rate_delay(packets);
        if packets == 0 || self.max_delay.is_zero() {
            return;
        }
        let since = now.since(self.last).as_nanos() as u64;
        let sample = (since / packets as u64).min(u64::MAX / AVERAGE_WEIGHT);
        self.interval =
            (self.interval / AVERAGE_WEIGHT) * (AVERAGE_WEIGHT - 1) + sample / AVERAGE_WEIGHT;
        // After an idle time, and after a burst, the earlier average is not valid any more.
        self.interval = if sample > self.max_delay.as_nanos() as u64 {
            sample
        } else {
            self.interval.min(2 * sample.max(1))
        };
        self.last = now;
    }

    /// Adapts the number of skipped ticks to whether a delay was useful: whether more than one packet came.
    fn rate_delay(&mut self, packets: usize) {
        if !std::mem::take(&mut self.delayed) {
            self.skipped_ticks = self.skipped_ticks.saturating_sub(packets.min(1) as u32);
        } else if packets > 1 {
            self.penalty = 1;
        } else {
            self.skipped_ticks = self.penalty;
            self.penalty = (2 * self.penalty).min(MAX_SKIPPED_TICKS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_DELAY: Duration = Duration::from_micros(300);

    /// Simulates packets at a steady rate for a second. Returns the ticks, the packets, and the longest delay.
    fn simulate(max_delay: Duration, interval: Duration) -> (u64, u64, Duration) {
        let mut coalescer = Coalescer::new(max_delay);
        let (mut ticks, mut taken, mut most) = (0, 0, Duration::ZERO);
        let mut now = Mono(0);
        while now.0 < 1_000_000_000 {
            // The next packet wakes the shard.
            now = Mono((taken + 1) * interval.as_nanos() as u64);
            let delay = coalescer.delay(now).unwrap_or_default();
            most = most.max(delay);
            now = now + delay;
            let packets = now.0 / interval.as_nanos() as u64 - taken;
            taken += packets;
            ticks += 1;
            coalescer.on_tick(packets as usize, now);
        }
        (ticks, taken, most)
    }

    /// One that has seen packets at a high rate until the moment that is given.
    fn loaded() -> (Coalescer, Mono) {
        let mut coalescer = Coalescer::new(MAX_DELAY);
        for number in 1..1000 {
            coalescer.on_tick(1, Mono(number * 10_000));
        }
        (coalescer, Mono(1000 * 10_000))
    }

    #[test]
    fn under_load_packets_share_ticks_and_none_waits_longer_than_allowed() {
        let (ticks, taken, most) = simulate(MAX_DELAY, Duration::from_micros(50));
        assert!(ticks * 5 < taken, "{ticks} ticks for {taken} packets");
        assert!(most <= MAX_DELAY);
    }

    #[test]
    fn at_high_rates_the_delay_is_short() {
        let (_, _, most) = simulate(MAX_DELAY, Duration::from_micros(2));
        assert!(
            most <= Duration::from_micros(2 * 2 * MAX_PACKETS_PER_DELAY),
            "{most:?}"
        );
    }

    #[test]
    fn without_load_there_is_no_delay() {
        for interval in [Duration::from_micros(150), Duration::from_millis(20)] {
            let (ticks, taken, most) = simulate(MAX_DELAY, interval);
            assert_eq!((ticks, most), (taken, Duration::ZERO));
        }
    }

    #[test]
    fn a_maximum_of_zero_never_delays() {
        assert_eq!(
            simulate(Duration::ZERO, Duration::from_micros(5)).2,
            Duration::ZERO
        );
    }

    /// The client sends its next packet only after the last has arrived, so a delay is useless.
    #[test]
    fn a_client_in_lockstep_is_soon_not_delayed() {
        let mut coalescer = Coalescer::new(MAX_DELAY);
        let mut now = Mono(0);
        let mut waits = 0;
        for _ in 0..10_000 {
            now = now + Duration::from_micros(20);
            if let Some(delay) = coalescer.delay(now) {
                waits += 1;
                now = now + delay;
            }
            coalescer.on_tick(1, now);
        }
        assert!(waits < 100, "{waits}");
    }

    /// Ticks with requests only relay nothing.
    #[test]
    fn requests_alone_cause_no_delay() {
        let mut coalescer = Coalescer::new(MAX_DELAY);
        let mut now = Mono(1_000_000_000);
        for number in 0..50_000 {
            now = now + Duration::from_micros(20);
            assert_eq!(coalescer.delay(now), None);
            // One call: a packet each millisecond.
            coalescer.on_tick(usize::from(number % 50 == 0), now);
        }
    }

    #[test]
    fn a_request_after_a_short_idle_time_is_not_delayed() {
        let (mut coalescer, now) = loaded();
        assert!(coalescer.delay(now).is_some());
        coalescer.on_tick(2, now);
        let later = now + IDLE_DELAYS * MAX_DELAY + Duration::from_nanos(1);
        assert_eq!(coalescer.delay(later), None);
    }

    #[test]
    fn a_delay_is_rated_by_the_packets_of_its_own_tick() {
        let (mut coalescer, now) = loaded();
        assert!(coalescer.delay(now).is_some());
        // Only requests came: this delay was useless, so one tick is skipped.
        coalescer.on_tick(0, now);
        assert_eq!(coalescer.delay(now), None);
        coalescer.on_tick(1, now);
        assert!(
            coalescer.delay(now).is_some(),
            "a tick without a delay was rated"
        );
    }

    #[test]
    fn the_first_packet_after_an_idle_time_is_not_delayed() {
        let (mut coalescer, now) = loaded();
        assert!(coalescer.delay(now).is_some());
        let later = Mono(5_000_000_000);
        assert_eq!(coalescer.delay(later), None);
        coalescer.on_tick(1, later);
        assert_eq!(coalescer.delay(later), None);
    }
}
