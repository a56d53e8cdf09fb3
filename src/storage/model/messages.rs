//! Chat messages.

use crate::storage::limits::MAX_MESSAGE_CHARS;

/// A message to store, with the ids of a room and of its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub room_id: String,
    pub user_id: String,
    pub content: String,
}

impl NewMessage {
    /// Whether the text has a length that can be stored, and is not blank.
    pub(in crate::storage) fn has_valid_content(&self) -> bool {
        !self.content.trim().is_empty() && self.content.chars().count() <= MAX_MESSAGE_CHARS
    }
}

/// A message in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Grows with each message.
    pub id: i64,
    pub room_id: String,
    pub user_id: String,
    pub display_name: String,
    pub content: String,
    /// Unix seconds.
    pub created_at: u64,
}
