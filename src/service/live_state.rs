//! The progress of a room's `parlor.v1` clients.

use serde::{Deserialize, Serialize};

use crate::storage::Room;

/// The parts of a room that its clients see, without its owner, who shows in the participants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRoom {
    name: String,
    private: bool,
    max_participants: Option<u32>,
    locked: bool,
}

impl ShownRoom {
    pub fn new(room: &Room) -> ShownRoom {
        ShownRoom {
            name: room.name.clone(),
            private: room.private,
            max_participants: room.max_participants,
            locked: room.locked,
        }
    }
}

/// The last changes that the `parlor.v1` clients of a room have got.
#[derive(Debug, Clone, Default)]
pub struct LiveState {
    /// The last message of the chat.
    pub last_message: Option<i64>,
    /// The room as it was sent last. A newcomer may have got a later one with the welcome.
    pub room: Option<ShownRoom>,
}

impl LiveState {
    /// Adds a client that begins with `newcomer`. Earlier clients may have yet to get what it has.
    pub(super) fn begin(&mut self, newcomer: LiveState, is_only_client: bool) {
        if is_only_client {
            *self = newcomer;
        } else {
            self.last_message = self.last_message.or(newcomer.last_message);
        }
    }
}
