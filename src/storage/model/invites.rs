//! Invites.

use std::time::Duration;

use crate::secret::Secret;

/// An invite to be made.
#[derive(Debug, Clone)]
pub struct NewInvite {
    /// A room's id.
    pub room_id: String,
    /// The id of the user who invites, if it is one.
    pub created_by: Option<String>,
    /// From now.
    pub ttl: Duration,
    /// `None`: as often as asked.
    pub uses: Option<u32>,
}

/// An invite just made. Its text exists only here: the store keeps a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    pub id: String,
    pub text: Secret,
    /// Unix seconds.
    pub expires_at: u64,
}

/// An invite that still opens its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveInvite {
    pub id: String,
    pub room_id: String,
    pub room_name: String,
    /// The id of the user who invites, if it is one.
    pub created_by: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub expires_at: u64,
    /// `None`: as often as asked.
    pub uses_left: Option<u32>,
}
