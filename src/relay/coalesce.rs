//! Waiting for more packets before the first is read. At moderate rates waking up is most of what a
//! packet costs; a fraction of a millisecond lets several share one.
//!
//! It waits only while that pays: where packets come so close together that several fall into one
//! wait, and where the last waits did bring some. Packets are those that are relayed. Requests
//! count for nothing, so that neither who allocates nor a flood of strangers makes anybody wait.

use std::time::Duration;

use crate::clock::Mono;

/// Packets that a wait must promise.
const WORTH: u64 = 3;

/// Packets that are enough for one turn: nobody waits longer for more.
const ENOUGH: u64 = 32;

/// What the last packets count in the average: an eighth.
const WEIGHT: u64 = 8;

/// Waits that are as long as a silence, after which what was before says nothing: more than a turn
/// takes that reads all slots.
const SILENCE: u32 = 2;

/// Turns without a wait, at most, after waits that brought nothing.
const LONGEST_BREAK: u32 = 1024;

#[derive(Debug)]
pub struct Gather {
    longest: Duration,
    /// Nanoseconds from packet to packet, on average of late.
    interval: u64,
    /// When the last packets were taken.
    last: Mono,
    /// Whether this turn has waited.
    waited: bool,
    /// Turns that go by without a wait, and how many the next fruitless one costs.
    rest: u32,
    penalty: u32,
}

impl Gather {
    /// Waits for `longest` at most; zero never waits.
    pub fn new(longest: Duration) -> Gather {
        Gather {
            longest,
            interval: u64::MAX / WEIGHT,
            last: Mono(0),
            waited: false,
            rest: 0,
            penalty: 1,
        }
    }

    /// How long to wait before the datagrams that have come at `now` are read. Not to be asked
    /// where the poller woke for anything else: that would wait in vain.
    pub fn pause(&mut self, now: Mono) -> Option<Duration> {
        let longest = self.longest.as_nanos() as u64;
        let silence = now.since(self.last) > SILENCE * self.longest;
        if silence || self.rest > 0 || self.interval.saturating_mul(WORTH) > longest {
            return None;
        }
        self.waited = true;
        let enough = self.interval.saturating_mul(ENOUGH);
        Some(Duration::from_nanos(enough.min(longest)))
    }

    /// A turn that began at `now` relayed so many packets.
    pub fn took(&mut self, packets: usize, now: Mono) {
        self.learn(packets);
        if packets == 0 || self.longest.is_zero() {
            return;
        }
        let since = now.since(self.last).as_nanos() as u64;
        let sample = (since / packets as u64).min(u64::MAX / WEIGHT);
        self.interval = (self.interval / WEIGHT) * (WEIGHT - 1) + sample / WEIGHT;
        // After a silence, and when there is much more at once, what was before says nothing.
        self.interval = match sample > self.longest.as_nanos() as u64 {
            true => sample,
            false => self.interval.min(2 * sample.max(1)),
        };
        self.last = now;
    }

    /// Whether the wait of this turn was worth it, where it had one.
    fn learn(&mut self, packets: usize) {
        if !std::mem::take(&mut self.waited) {
            self.rest = self.rest.saturating_sub(packets.min(1) as u32);
        } else if packets > 1 {
            self.penalty = 1;
        } else {
            self.rest = self.penalty;
            self.penalty = (2 * self.penalty).min(LONGEST_BREAK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(300);

    /// Packets at a steady rate for a second: turns, packets that were taken, and the longest wait.
    fn live(longest: Duration, interval: Duration) -> (u64, u64, Duration) {
        let mut gather = Gather::new(longest);
        let (mut turns, mut taken, mut most) = (0, 0, Duration::ZERO);
        let mut now = Mono(0);
        while now.0 < 1_000_000_000 {
            // Woken by the next packet.
            now = Mono((taken + 1) * interval.as_nanos() as u64);
            let pause = gather.pause(now).unwrap_or_default();
            most = most.max(pause);
            now = now + pause;
            let packets = now.0 / interval.as_nanos() as u64 - taken;
            taken += packets;
            turns += 1;
            gather.took(packets as usize, now);
        }
        (turns, taken, most)
    }

    /// One that has seen packets at a high rate until the moment that is given.
    fn busy() -> (Gather, Mono) {
        let mut gather = Gather::new(LONGEST);
        for number in 1..1000 {
            gather.took(1, Mono(number * 10_000));
        }
        (gather, Mono(1000 * 10_000))
    }

    #[test]
    fn under_load_several_packets_share_a_turn_and_none_waits_longer_than_allowed() {
        let (turns, taken, most) = live(LONGEST, Duration::from_micros(50));
        assert!(turns * 5 < taken, "{turns} turns for {taken} packets");
        assert!(most <= LONGEST);
    }

    #[test]
    fn at_high_rates_the_wait_is_short() {
        let (_, _, most) = live(LONGEST, Duration::from_micros(2));
        assert!(most <= Duration::from_micros(2 * 2 * ENOUGH), "{most:?}");
    }

    #[test]
    fn without_load_nobody_waits() {
        for interval in [Duration::from_micros(150), Duration::from_millis(20)] {
            let (turns, taken, most) = live(LONGEST, interval);
            assert_eq!((turns, most), (taken, Duration::ZERO));
        }
    }

    #[test]
    fn zero_never_waits() {
        assert_eq!(
            live(Duration::ZERO, Duration::from_micros(5)).2,
            Duration::ZERO
        );
    }

    /// A client that sends its next packet when the last has arrived: waiting brings it nothing.
    #[test]
    fn who_waits_for_the_answer_is_soon_not_kept_waiting() {
        let mut gather = Gather::new(LONGEST);
        let mut now = Mono(0);
        let mut waits = 0;
        for _ in 0..10_000 {
            now = now + Duration::from_micros(20);
            if let Some(pause) = gather.pause(now) {
                waits += 1;
                now = now + pause;
            }
            gather.took(1, now);
        }
        assert!(waits < 100, "{waits}");
    }

    /// Requests are answered in turns that relay nothing.
    #[test]
    fn requests_make_nobody_wait_however_many_there_are() {
        let mut gather = Gather::new(LONGEST);
        let mut now = Mono(1_000_000_000);
        for number in 0..50_000 {
            now = now + Duration::from_micros(20);
            assert_eq!(gather.pause(now), None);
            // Among them a call: a packet a millisecond.
            gather.took(usize::from(number % 50 == 0), now);
        }
    }

    #[test]
    fn a_request_soon_after_the_last_packet_does_not_wait() {
        let (mut gather, now) = busy();
        assert!(gather.pause(now).is_some());
        gather.took(2, now);
        let later = now + SILENCE * LONGEST + Duration::from_nanos(1);
        assert_eq!(gather.pause(later), None);
    }

    #[test]
    fn a_wait_is_judged_by_what_its_own_turn_relayed() {
        let (mut gather, now) = busy();
        assert!(gather.pause(now).is_some());
        // Nothing but requests came: it is this wait that was in vain, and one turn pays for it.
        gather.took(0, now);
        assert_eq!(gather.pause(now), None);
        gather.took(1, now);
        assert!(
            gather.pause(now).is_some(),
            "a turn that did not wait was judged"
        );
    }

    #[test]
    fn the_first_packet_after_a_silence_does_not_wait() {
        let (mut gather, now) = busy();
        assert!(gather.pause(now).is_some());
        let later = Mono(5_000_000_000);
        assert_eq!(gather.pause(later), None);
        gather.took(1, later);
        assert_eq!(gather.pause(later), None);
    }
}
