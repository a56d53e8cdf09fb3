//! Invites.

use std::time::Duration;

use crate::secret::Secret;

/// An invite to create.
#[derive(Debug, Clone)]
pub struct NewInvite {
    /// A room's id.
    pub room_id: String,
    /// The id of the author, unless the operator created it.
    pub created_by: Option<String>,
    /// Counted from now.
    pub ttl: Duration,
    /// `None`: unlimited.
    pub uses: Option<u32>,
}

/// A new invite. Its text exists only here: the store has a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    pub id: String,
    pub text: Secret,
    /// Unix seconds.
    pub expires_at: u64,
}

/// A valid invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveInvite {
    pub id: String,
    pub room_id: String,
    pub room_name: String,
    /// The id of the author, unless the operator created it.
    pub created_by: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub expires_at: u64,
    /// `None`: unlimited.
    pub uses_left: Option<u32>,
}
