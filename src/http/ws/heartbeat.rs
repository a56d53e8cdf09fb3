//! Pings, and the wait for their pongs.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes of the number of a ping, at the start of its payload.
pub(super) const PING_NUMBER_BYTES: usize = 4;

/// Pings, and the wait for their pongs.
pub(super) struct Heartbeat {
    pub interval: Duration,
    timeout: Duration,
    number: u32,
    /// The next ping, or the end of the wait for a pong.
    pub due: Instant,
    pub waiting: bool,
    /// The longest time until the next ping, as set since the last pong.
    within: Duration,
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, timeout: Duration, now: Instant) -> Heartbeat {
        Heartbeat {
            interval,
            timeout,
            number: 0,
            due: now + interval,
            waiting: false,
            within: interval,
        }
    }

    /// Makes the next ping due within this time. Returns whether that changes when it is due.
    pub(super) fn hasten(&mut self, within: Duration, now: impl FnOnce() -> Instant) -> bool {
        if self.waiting || within >= self.within {
            return false;
        }
        self.within = within;
        let due = now() + within;
        let is_earlier = due < self.due;
        self.due = self.due.min(due);
        is_earlier
    }

    /// Sends the next ping, with the returned payload; `None` if the pong is overdue.
    pub(super) fn tick(&mut self, now: Instant) -> Option<[u8; PING_NUMBER_BYTES]> {
        if self.waiting {
            return None;
        }
        self.waiting = true;
        self.number = self.number.wrapping_add(1);
        self.due = now + self.timeout;
        Some(self.number.to_be_bytes())
    }

    /// Waits for the outstanding pong once more.
    pub(super) fn extend(&mut self, now: Instant) {
        self.due = now + self.timeout;
    }

    /// Whether the payload belongs to the outstanding ping.
    pub(super) fn on_pong(&mut self, payload: &[u8]) -> bool {
        let matches = self.waiting && payload == self.number.to_be_bytes();
        if matches {
            self.waiting = false;
            self.within = self.interval;
            self.due = self.due - self.timeout + self.interval;
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_next_ping_is_hastened_once_until_its_pong() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(25 * SECOND, 10 * SECOND, start);
        assert!(!heartbeat.hasten(25 * SECOND, || start));
        assert!(heartbeat.hasten(5 * SECOND, || start + SECOND));
        // The clock is not read for a time that is no shorter.
        assert!(!heartbeat.hasten(5 * SECOND, || unreachable!()));
        assert_eq!(heartbeat.due, start + 6 * SECOND);
        assert!(heartbeat.hasten(Duration::ZERO, || start + 2 * SECOND));
        assert_eq!(heartbeat.due, start + 2 * SECOND);

        let payload = heartbeat.tick(heartbeat.due).expect("a ping");
        assert!(!heartbeat.hasten(Duration::ZERO, || unreachable!()));
        assert!(heartbeat.on_pong(&payload));
        assert!(heartbeat.hasten(5 * SECOND, || start + 3 * SECOND));
        assert_eq!(heartbeat.due, start + 8 * SECOND);
    }

    #[test]
    fn a_ping_that_is_due_earlier_is_not_put_off() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(25 * SECOND, 10 * SECOND, start);
        assert!(!heartbeat.hasten(5 * SECOND, || start + 22 * SECOND));
        assert_eq!(heartbeat.due, start + 25 * SECOND);
    }
}
