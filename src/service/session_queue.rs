//! The part of a queue that belongs to the session of a `parlor.v1` client.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::renewals::RenewalState;
use super::resume_memory::{Excess, Holder, ResumeMemory, Share};
use crate::room::{OutgoingFrame, Session};

/// Frames are acknowledged by a pong at least this often.
const ACKNOWLEDGE_INTERVAL: Duration = Duration::from_secs(5);

/// A session, and its frames that are sent before those of the queue.
pub(super) struct SessionQueue {
    pub session: Session,
    /// The frame without a number at the start of a connection.
    pub first: Option<OutgoingFrame>,
    /// Frames that an earlier connection may not have delivered.
    pub missed: VecDeque<OutgoingFrame>,
    /// Whether the client has no connection.
    pub is_away: bool,
    pub renewals: RenewalState,
    /// The limit of kept frames.
    buffer_bytes: usize,
    share: Share,
}

impl SessionQueue {
    pub(super) fn new(
        session: Session,
        buffer_bytes: usize,
        memory: &Arc<ResumeMemory>,
        user: &str,
        holder: Weak<dyn Holder>,
    ) -> SessionQueue {
        SessionQueue {
            session,
            first: None,
            missed: VecDeque::new(),
            is_away: false,
            renewals: RenewalState::default(),
            buffer_bytes,
            share: Share::new(memory, user, holder),
        }
    }

    /// Charges the kept frames, and those that are `queued` for a client without a connection. Returns an exceeded
    /// limit.
    pub(super) fn charge(&mut self, queued: usize) -> Option<Excess> {
        self.session.limit(self.buffer_bytes);
        let queued = if self.is_away { queued } else { 0 };
        self.share.set(self.session.kept_bytes() + queued)
    }

    /// Whether the frames of a client without a connection are too many to be kept.
    pub(super) fn is_full(&self, queued: usize) -> bool {
        self.session.kept_bytes() + queued > self.buffer_bytes
    }

    /// Forgets all frames. Returns whether there were any.
    pub(super) fn forget(&mut self) {
        self.session.limit(0);
        // Less than before.
        let _ = self.share.set(0);
    }

    /// The time until the client has to acknowledge frames; `None` if there are none. At once after a resumption: until
    /// then, an earlier token is valid.
    pub(super) fn acknowledge_within(&self) -> Option<Duration> {
        if self.session.is_unconfirmed() && self.first.is_none() {
            return Some(Duration::ZERO);
        }
        match self.session.kept_bytes() {
            0 => None,
            few if few < self.buffer_bytes / 2 => Some(ACKNOWLEDGE_INTERVAL),
            _ => Some(Duration::ZERO),
        }
    }
}

impl std::fmt::Debug for SessionQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionQueue")
            .field("session", &self.session)
            .field("is_away", &self.is_away)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_without_frames_costs_less_than_half_a_kilobyte() {
        assert!(size_of::<SessionQueue>() < 512);
    }
}
