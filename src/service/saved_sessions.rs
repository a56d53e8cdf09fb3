//! Sessions of `parlor.v1` clients, for the next process.

use serde::{Deserialize, Serialize};

use crate::room::{SavedFrames, SavedMember};
use crate::token::Issue;

/// The sessions of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoom {
    pub room: String,
    /// The last message of the chat that the clients got.
    pub(super) last_chat_message: Option<i64>,
    pub(super) sessions: Vec<SavedSession>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedSession {
    pub member: SavedMember,
    pub issue: Issue,
    pub since: u64,
    pub is_token_admin: bool,
    pub queue: SavedQueue,
}

/// The queue of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedQueue {
    pub frames: SavedFrames,
    /// When the client gets other ICE servers, in Unix seconds.
    pub ice_due: Option<u64>,
}
