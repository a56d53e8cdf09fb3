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
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, timeout: Duration, now: Instant) -> Heartbeat {
        Heartbeat {
            interval,
            timeout,
            number: 0,
            due: now + interval,
            waiting: false,
        }
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
            self.due = self.due - self.timeout + self.interval;
        }
        matches
    }
}
