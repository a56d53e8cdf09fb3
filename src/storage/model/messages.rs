//! Chat messages.

/// A message to store, with the ids of a room and of its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub room_id: String,
    pub user_id: String,
    pub content: String,
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
