//! Sessions of `parlor.v1` clients, for the next process.

use serde::{Deserialize, Serialize};

use super::live_state::ShownRoom;
use crate::room::{SavedFrames, SavedMember, SavedRoster};
use crate::token::Issue;

/// The sessions of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoom {
    pub room: String,
    /// The last message of the chat that the clients got.
    pub(super) last_chat_message: Option<i64>,
    /// The room, as the clients saw it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shown: Option<ShownRoom>,
    pub(super) sessions: Vec<SavedSession>,
    /// If this is one of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) roster: Option<SavedRoster>,
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
