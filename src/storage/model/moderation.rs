//! Moderation: roles, locks and the audit.

use crate::storage::limits::MAX_REASON_CHARS;

/// The role of a user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomRole {
    /// The owner of the room, or an admin.
    Owner,
    /// Named by the owner.
    Moderator,
    Member,
    Guest,
}

impl RoomRole {
    /// The name of the role for clients.
    pub fn name(self) -> &'static str {
        match self {
            RoomRole::Owner => "owner",
            RoomRole::Moderator => "moderator",
            RoomRole::Member => "member",
            RoomRole::Guest => "guest",
        }
    }
}

/// The author and the reason of a moderation, for the audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    actor: Option<String>,
    reason: Option<String>,
}

/// A reason that cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reason has 1 to {MAX_REASON_CHARS} characters, none of them a control character")]
pub struct InvalidReason;

impl Cause {
    /// `actor` is a user's id; `None`: an admin at the command line.
    pub fn new(actor: Option<String>, reason: Option<String>) -> Result<Cause, InvalidReason> {
        let is_valid = reason.as_ref().is_none_or(|reason| {
            (1..=MAX_REASON_CHARS).contains(&reason.chars().count())
                && !reason.trim().is_empty()
                && !reason.chars().any(char::is_control)
        });
        if is_valid {
            Ok(Cause { actor, reason })
        } else {
            Err(InvalidReason)
        }
    }

    /// A user, without a reason.
    pub fn of_user(id: &str) -> Cause {
        Cause {
            actor: Some(id.to_owned()),
            reason: None,
        }
    }

    /// A user's id; `None`: an admin at the command line.
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

/// A role that a user can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewRole {
    /// The former owner becomes a moderator.
    Owner,
    Moderator,
    Member,
}

impl NewRole {
    /// The name of the role for clients and in the store.
    pub fn name(self) -> &'static str {
        match self {
            NewRole::Owner => "owner",
            NewRole::Moderator => "moderator",
            NewRole::Member => "member",
        }
    }
}

/// A change of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleChange {
    pub room_id: String,
    pub user_id: String,
    pub role: NewRole,
    pub cause: Cause,
    /// The change fails unless the actor owns the room.
    pub as_owner: bool,
}

/// The result of a change of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleOutcome {
    /// False if the user had the role.
    pub is_changed: bool,
    /// The id of the former owner, who has become a moderator.
    pub former_owner: Option<String>,
}

/// An entry of the audit of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub id: i64,
    /// Unix seconds.
    pub at: u64,
    /// `kick`, `ban`, `unban`, `lock`, `unlock`, `role` or `delete-message`.
    pub action: String,
    /// A user's id; `None`: an admin at the command line.
    pub actor: Option<String>,
    /// The actor's display name, if their row still exists.
    pub actor_name: Option<String>,
    /// A user's id; `None`: the room.
    pub target: Option<String>,
    /// The target's display name, if their row still exists.
    pub target_name: Option<String>,
    pub reason: Option<String>,
    /// Unix seconds: the end of a ban. `None`: permanent.
    pub until: Option<u64>,
    /// The new role, or the id of a message.
    pub value: Option<String>,
}
