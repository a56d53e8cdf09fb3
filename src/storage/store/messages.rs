//! The port of the store: the chat messages of a room.

use super::{Backend, Store};
use crate::storage::{Message, MessageError, NewMessage, StoreError};

impl Store {
    /// Stores a message of a participant. The room keeps the newest `keep` messages (0: all).
    pub async fn post_message(
        &self,
        new: NewMessage,
        keep: u32,
        unix: u64,
    ) -> Result<Message, MessageError> {
        call!(self.post_message(new, keep, unix))
    }

    /// Returns the last `limit` messages of a room, or the last ones before the message `before`; oldest
    /// first.
    pub async fn messages(
        &self,
        room_id: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        call!(self.messages(room_id, before, limit))
    }

    /// Returns the id of the author of a message of the room; `None` if the room has no such message.
    pub async fn message_author(
        &self,
        room_id: &str,
        message: i64,
    ) -> Result<Option<String>, StoreError> {
        call!(self.message_author(room_id, message))
    }

    /// Deletes a message of the room. Idempotent.
    pub async fn delete_message(&self, room_id: &str, message: i64) -> Result<(), StoreError> {
        call!(self.delete_message(room_id, message))
    }
}
