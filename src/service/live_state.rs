//! The progress of a room's `parlor.v1` clients.

use crate::storage::Room;

/// The last changes that the `parlor.v1` clients of a room have got.
#[derive(Default)]
pub(super) struct LiveState {
    /// The last message of the chat.
    pub last_message: Option<i64>,
    /// The room that was sent last; `None` if a newcomer got a later one with the welcome.
    pub room: Option<Room>,
}

impl LiveState {
    /// A client has got the room, and gets the messages after `last`. Earlier clients may have yet to get some of those
    /// before.
    pub(super) fn begin(&mut self, last: i64) {
        self.last_message.get_or_insert(last);
        self.room = None;
    }
}
