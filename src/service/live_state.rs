//! The progress of a room's `parlor.v1` clients.

use crate::storage::Room;

/// The last changes that the `parlor.v1` clients of a room have got.
#[derive(Debug, Clone, Default)]
pub struct LiveState {
    /// The last message of the chat.
    pub last_message: Option<i64>,
    /// The room as it was sent last. A newcomer may have got a later one with the welcome.
    pub room: Option<Room>,
}

impl LiveState {
    /// Whether the clients have got this room. A new owner shows in the participants.
    pub(super) fn shows(&self, room: &Room) -> bool {
        let visible = |room: &Room| (room.private, room.max_participants, room.locked);
        let shown = self.room.as_ref();
        shown.is_some_and(|shown| shown.name == room.name && visible(shown) == visible(room))
    }

    /// Adds a client that begins with `newcomer`. Earlier clients may have yet to get what it has.
    pub(super) fn begin(&mut self, newcomer: LiveState, is_only_client: bool) {
        if is_only_client {
            *self = newcomer;
        } else {
            self.last_message = self.last_message.or(newcomer.last_message);
        }
    }
}
