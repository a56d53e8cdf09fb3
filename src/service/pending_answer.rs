//! The answer that a request of a `parlor.v1` client waits for.

use std::sync::{Arc, Mutex};

use super::admission::Admitted;
use super::room_entry::{RoomEntry, lock};
use crate::room::{ConnectionId, Rejection};

/// The answer if the request was dropped: the task that carried it out has failed.
const FAILED: Rejection<'static> = Rejection {
    code: "internal",
    message: "Something went wrong on the server",
};

/// The right to answer a request. It outlives the connection: the answer goes to the session, if it still exists.
/// Dropping it answers with an error.
pub struct PendingAnswer {
    entry: Arc<Mutex<RoomEntry>>,
    connection: ConnectionId,
    is_answered: bool,
}

impl PendingAnswer {
    pub(super) fn new(entry: &Arc<Mutex<RoomEntry>>, connection: ConnectionId) -> PendingAnswer {
        PendingAnswer {
            entry: entry.clone(),
            connection,
            is_answered: false,
        }
    }

    /// Has the connection of the session use another token of its user from now on. Returns whether the user was an admin
    /// by the earlier token alone.
    pub(super) fn replace_token(&self, admitted: &Admitted) -> bool {
        lock(&self.entry).replace_token(self.connection, admitted)
    }

    /// Sends the answer.
    pub fn answer(mut self, result: Result<(), Rejection<'_>>) {
        self.is_answered = true;
        lock(&self.entry).answer(self.connection, result);
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        if !self.is_answered {
            lock(&self.entry).answer(self.connection, Err(FAILED));
        }
    }
}
