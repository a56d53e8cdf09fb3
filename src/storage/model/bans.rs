//! Kicks and bans.

use super::memberships::LeaveOutcome;
use super::moderation::Cause;
use crate::storage::error::BanError;

/// The reason why a room still rejects a removed user. Times are Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Kicked {
        until: u64,
    },
    /// `None`: permanent.
    Banned {
        until: Option<u64>,
    },
}

/// A ban to create, with the ids of a room and of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBan {
    pub room_id: String,
    pub user_id: String,
    /// Unix seconds; `None`: permanent.
    pub until: Option<u64>,
    pub cause: Cause,
    /// Whether the invite that the guest used stays valid.
    pub keep_invite: bool,
}

impl NewBan {
    /// Checks the end of a ban that begins at `unix`.
    pub(in crate::storage) fn check(&self, unix: u64) -> Result<(), BanError> {
        match self.until {
            Some(until) if until <= unix => Err(BanError::Past),
            _ => Ok(()),
        }
    }
}

/// The result of a ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanOutcome {
    pub left: LeaveOutcome,
    /// The invite that the guest used, if known.
    pub invite: Option<String>,
    /// Whether the ban revoked that invite.
    pub revoked: bool,
}

/// A ban in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    pub user_id: String,
    pub name: String,
    pub display_name: String,
    pub guest: bool,
    pub reason: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; `None`: permanent.
    pub until: Option<u64>,
    /// The moderator; `None`: an admin at the command line.
    pub created_by: Option<String>,
}
