//! Chat messages.

/// A message to be written. The ids are those of a room and of a participant of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub room_id: String,
    pub user_id: String,
    pub content: String,
}

/// What somebody wrote in a room.
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
