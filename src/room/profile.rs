//! The description of a user that a room shows to `parlor.v1` clients.

use serde::{Deserialize, Serialize};

/// The protocol that the client of a member speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Plain,
    /// `parlor.v1`.
    Extended,
}

/// The role of a user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Made the room, or is an admin.
    Owner,
    /// Named by the owner.
    Moderator,
    Member,
    Guest,
}

impl Role {
    const ALL: [Role; 4] = [Role::Owner, Role::Moderator, Role::Member, Role::Guest];

    /// The role with this name; `None` if there is none.
    pub(super) fn from_label(label: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.label() == label)
    }

    /// The name in frames.
    pub fn label(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Moderator => "moderator",
            Role::Member => "member",
            Role::Guest => "guest",
        }
    }
}

/// A user, as `parlor.v1` clients see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub display_name: Box<str>,
    pub role: Role,
    /// Unix seconds at which the user connected to the room.
    pub joined_at: u64,
}
