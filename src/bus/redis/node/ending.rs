//! How a node ends: other nodes need not wait for the end of its lease.

use redis::Cmd;

use super::Node;
use super::state::Phase;
use crate::clock::Mono;

impl Node {
    /// Whether everything that was queued has been carried out.
    pub fn is_sent(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives up the lease. Nothing else is sent from then on, and replies do not matter.
    pub fn end(&mut self) {
        self.controls.clear();
        if self.is_available() {
            self.evict(self.identity.id.clone(), "any");
        }
        self.phase = Phase::Ended;
    }

    /// Whether the lease is given up, or cannot be.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended && self.controls.is_empty() && self.flights.is_empty()
    }

    pub(super) fn send_last(&mut self, now: Mono) -> Option<Cmd> {
        let control = self.controls.pop_front()?;
        Some(self.send_control(control, now))
    }
}
