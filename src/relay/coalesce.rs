//! Waiting for more packets before the first is read. At moderate rates waking up is most of what a
//! packet costs; a fraction of a millisecond lets several share one.
//!
//! It waits only while that pays: where packets come so close together that several fall into one
//! wait, and where the last waits did bring some. Packets are those that are relayed. Requests
//! count for nothing, so that neither who allocates nor a flood of strangers makes anybody wait.

use std::time::Duration;

use crate::clock::Mono;

/// Packets that a wait must promise.
const MIN_PACKETS_PER_DELAY: u64 = 3;

/// Packets that are enough for one turn: nobody waits longer for more.
const MAX_PACKETS_PER_DELAY: u64 = 32;

/// What the last packets count in the average: an eighth.
const AVERAGE_WEIGHT: u64 = 8;

/// Waits that are as long as a silence, after which what was before says nothing: more than a turn
/// takes that reads all slots.
const IDLE_DELAYS: u32 = 2;

/// Turns without a wait, at most, after waits that brought nothing.
const MAX_SKIPPED_TICKS: u32 = 1024;

#[derive(Debug)]
pub struct Coalescer {
    max_delay: Duration,
    /// Nanoseconds from packet to packet, on average of late.
    interval: u64,
    /// When the last packets were taken.
    last: Mono,
    /// Whether this turn has waited.
    delayed: bool,
    /// Turns that go by without a wait, and how many the next fruitless one costs.
    skipped_ticks: u32,
    penalty: u32,
}

impl Coalescer {
    /// Waits for `max_delay` at most; zero never waits.
    pub fn new(max_delay: Duration) -> Coalescer {
        Coalescer {
            max_delay,
            interval: u64::MAX / AVERAGE_WEIGHT,
            last: Mono(0),
            delayed: false,
            skipped_ticks: 0,
            penalty: 1,
        }
    }

    /// How long to wait before the datagrams that have come at `now` are read. Not to be asked
    /// where the poller woke for anything else: that would wait in vain.
    pub fn delay(&mut self, now: Mono) -> Option<Duration> {
        let max_delay = self.max_delay.as_nanos() as u64;
        let idle = now.since(self.last) > IDLE_DELAYS * self.max_delay;
        if idle
            || self.skipped_ticks > 0
            || self.interval.saturating_mul(MIN_PACKETS_PER_DELAY) > max_delay
        {
            return None;
        }
        self.delayed = true;
        let enough = self.interval.saturating_mul(MAX_PACKETS_PER_DELAY);
        Some(Duration::from_nanos(enough.min(max_delay)))
    }

    /// A turn that began at `now` relayed so many packets.
    pub fn on_tick(&mut self, packets: usize, now: Mono) {
        self.rate_delay(packets);
        if packets == 0 || self.max_delay.is_zero() {
            return;
        }
        let since = now.since(self.last).as_nanos() as u64;
        let sample = (since / packets as u64).min(u64::MAX / AVERAGE_WEIGHT);
        self.interval =
            (self.interval / AVERAGE_WEIGHT) * (AVERAGE_WEIGHT - 1) + sample / AVERAGE_WEIGHT;
        // After a silence, and when there is much more at once, what was before says nothing.
        self.interval = match sample > self.max_delay.as_nanos() as u64 {
            true => sample,
            false => self.interval.min(2 * sample.max(1)),
        };
        self.last = now;
    }

    /// Whether the wait of this turn was worth it, where it had one.
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

    /// Packets at a steady rate for a second: ticks, packets that were taken, and the max_delay wait.
    fn simulate(max_delay: Duration, interval: Duration) -> (u64, u64, Duration) {
        let mut coalescer = Coalescer::new(max_delay);
        let (mut ticks, mut taken, mut most) = (0, 0, Duration::ZERO);
        let mut now = Mono(0);
        while now.0 < 1_000_000_000 {
            // Woken by the next packet.
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

    /// A client that sends its next packet when the last has arrived: waiting brings it nothing.
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

    /// Requests are answered in ticks that relay nothing.
    #[test]
    fn requests_alone_cause_no_delay() {
        let mut coalescer = Coalescer::new(MAX_DELAY);
        let mut now = Mono(1_000_000_000);
        for number in 0..50_000 {
            now = now + Duration::from_micros(20);
            assert_eq!(coalescer.delay(now), None);
            // Among them a call: a packet a millisecond.
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
        // Nothing but requests came: it is this wait that was in vain, and one turn pays for it.
        coalescer.on_tick(0, now);
        assert_eq!(coalescer.delay(now), None);
        coalescer.on_tick(1, now);
        assert!(
            coalescer.delay(now).is_some(),
            "a turn that did not wait was judged"
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
