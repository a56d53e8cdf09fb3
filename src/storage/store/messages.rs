//! The port of the store: the chat messages of a room.

use super::{Backend, Store};
use crate::storage::{Cause, Message, MessageError, NewMessage, StoreError};

impl Store {
    /// Stores a message of a participant. The room keeps the newest `keep` messages (0: all): of the
    /// others, at most [`MAX_DELETED_MESSAGES`](crate::storage::MAX_DELETED_MESSAGES) are deleted.
    pub async fn post_message(
        &self,
        new: NewMessage,
        keep: u32,
        unix: u64,
    ) -> Result<Message, MessageError> {
        call!(self.post_message(new, keep, unix))
    }

    /// Returns the last `limit` messages of a room, or the last ones before the message `before`; oldest
    /// first. With a `newcomer`, a user's id, only messages since they joined; none if they are no member.
    pub async fn messages(
        &self,
        room_id: &str,
        newcomer: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        call!(self.messages(room_id, newcomer, before, limit))
    }

    /// Returns the id of the last message of a room; 0 if there is none.
    pub async fn last_message(&self, room_id: &str) -> Result<i64, StoreError> {
        call!(self.last_message(room_id))
    }

    /// Returns the first `limit` messages of a room after the message `after`, in order.
    pub async fn messages_after(
        &self,
        room_id: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        call!(self.messages_after(room_id, after, limit))
    }

    /// Returns the id of the author of a message of the room; `None` if the room has no such message. With a
    /// `newcomer`, a user's id, only of their own messages and of messages since they joined.
    pub async fn message_author(
        &self,
        room_id: &str,
        newcomer: Option<&str>,
        message: i64,
    ) -> Result<Option<String>, StoreError> {
        call!(self.message_author(room_id, newcomer, message))
    }

    /// Deletes a message of the room. Idempotent. With a cause, the audit has the deletion.
    pub async fn delete_message(
        &self,
        room_id: &str,
        message: i64,
        cause: Option<Cause>,
        unix: u64,
    ) -> Result<(), StoreError> {
        call!(self.delete_message(room_id, message, cause, unix))
    }

    /// Deletes messages of all rooms that were written before `before`, at most [`MAX_DELETED_MESSAGES`](crate::storage::MAX_DELETED_MESSAGES). Returns
    /// whether there may be more.
    pub async fn delete_old_messages(&self, before: u64) -> Result<bool, StoreError> {
        call!(self.delete_old_messages(before))
    }
}
