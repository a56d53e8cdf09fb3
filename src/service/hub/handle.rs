//! The inputs of a connection, and its end.

use std::sync::Arc;
use std::time::Duration;

use super::RoomHandle;
use crate::clock;
use crate::room::{ClientRequest, CloseCode, Departure, Input, Outcome};
use crate::service::pending_answer::PendingAnswer;
use crate::service::room_entry::{RoomEntry, lock};

/// Timeout for the entry into a room of several nodes.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(5);

impl RoomHandle {
    /// The id of the room.
    pub fn room(&self) -> &Arc<str> {
        &self.room
    }

    /// Records that the client sent a close frame: the user left, and did not lose the connection.
    pub fn mark_closed_by_client(&mut self) {
        self.closed_by_client = true;
    }

    /// Records whether the session, if there is one, outlives the connection. Otherwise a resumed session does, and a
    /// new one, whose client does not know it yet, does not.
    pub fn set_keeps_session(&mut self, keeps_session: bool) {
        self.keeps_session = keeps_session;
    }

    pub(super) fn departure(&self) -> Departure {
        if self.closed_by_client {
            Departure::Left
        } else {
            Departure::Lost
        }
    }

    /// Waits until the connection is a member on all nodes.
    ///
    /// # Errors
    /// The close code, if the connection was closed before, or the other nodes cannot be reached.
    pub async fn entered(&mut self) -> Result<(), CloseCode> {
        let Some(entered) = self.entered.take() else {
            return Ok(());
        };
        match tokio::time::timeout(ENTRY_TIMEOUT, entered).await {
            Ok(Ok(entered)) => entered,
            Ok(Err(_)) | Err(_) => Err(CloseCode::ConnectionError),
        }
    }

    /// Takes the request of the last input after [`Outcome::Requested`]. Until its answer, the connection passes no
    /// further input to the room.
    pub fn take_request(&self) -> Option<(ClientRequest, PendingAnswer)> {
        let request = lock(&self.entry).room.take_request(self.connection)?;
        let pending = PendingAnswer::new(&self.entry, self.connection);
        Some((request, pending))
    }

    /// Whether a request of the session waits for its answer. The connection is woken when it has it.
    pub fn awaits_answer(&self) -> bool {
        lock(&self.entry).room.awaits_answer(self.connection)
    }

    /// Passes an input of the connection to the room.
    pub fn receive(&self, input: Input<'_>) -> Outcome {
        let now = clock::now().mono;
        let mut entry = lock(&self.entry);
        if let Some(outbox) = &self.session {
            if !entry.is_current(self.connection, outbox) {
                return Outcome::Gone;
            }
            outbox.confirm();
        }
        let RoomEntry { room, effects, .. } = &mut *entry;
        let outcome = room.receive(self.connection, input, now, effects);
        entry.apply_effects();
        drop(entry);
        if let (Outcome::Acknowledged(seq), Some(outbox)) = (outcome, &self.session) {
            outbox.acknowledge(seq);
        }
        self.hub.metrics.received(outcome);
        outcome
    }
}

impl Drop for RoomHandle {
    fn drop(&mut self) {
        self.hub.leave(self);
    }
}
