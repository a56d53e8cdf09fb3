//! The send limits of connections.

use crate::clock::Mono;
use crate::rate::{Gcra, Limit};

/// Limits of each connection of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub messages: Limit,
    /// Bytes of messages, as sent to one reader.
    pub bytes: Limit,
}

impl Limits {
    pub const UNLIMITED: Limits = Limits {
        messages: Limit::UNLIMITED,
        bytes: Limit::UNLIMITED,
    };
}

/// The used budgets of a user.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UsedBudgets {
    messages: Gcra,
    bytes: Gcra,
}

impl UsedBudgets {
    /// Charges one message of this many bytes.
    pub(super) fn take(&mut self, limits: Limits, now: Mono, bytes: usize) -> bool {
        self.messages.take(limits.messages, now, 1)
            && self.bytes.take(limits.bytes, now, bytes as u64)
    }

    pub(super) fn is_idle(&self, now: Mono) -> bool {
        self.messages.is_idle(now) && self.bytes.is_idle(now)
    }
}
