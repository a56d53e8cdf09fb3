//! `parlor room …` and `parlor invite …`

use std::num::NonZeroU32;

use clap::{Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::storage::NewRole;

use super::values::{
    Lifetime, parse_lifetime, parse_participants, parse_room_id, parse_until, parse_uses,
};

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum RoomCommand {
    /// Create a room
    #[serde(rename = "room-create")]
    Create {
        /// Room name
        name: String,
        /// Room id: 1 to 128 of A-Z a-z 0-9 . _ ~ - [default: a UUID]
        #[arg(long, value_parser = parse_room_id)]
        id: Option<String>,
        /// Maximum number of members, 1 to 1,000,000 [default: no limit]
        #[arg(long, value_name = "N", value_parser = parse_participants)]
        max_participants: Option<u32>,
        /// Admit only members and invited guests
        #[arg(long)]
        private: bool,
    },
    /// List open rooms
    #[serde(rename = "room-list")]
    List,
    /// Show a room and its members
    #[serde(rename = "room-show")]
    Show {
        /// Room id or name; `id:…` is always an id
        room: String,
    },
    /// Close a room permanently: close its connections, free its relays
    #[serde(rename = "room-close")]
    Close {
        /// Room id or name; `id:…` is always an id
        room: String,
    },
    /// Close a room and delete its name, messages and invites
    #[serde(rename = "room-delete")]
    Delete {
        /// Room id or name; `id:…` is always an id
        room: String,
    },
    /// Add a user to a room as a member
    #[serde(rename = "room-add-member")]
    AddMember {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// User id or name; `id:…` is always an id
        user: String,
    },
    /// Remove a user or guest from a room; they may rejoin after rooms.kick_cooldown
    #[serde(rename = "room-kick")]
    Kick {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// User or guest: id or name; `id:…` is always an id
        user: String,
        /// Reason, shown by `parlor room audit`
        #[arg(long, value_name = "R")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Ask the client of a participant to mute, if it speaks parlor.v1
    #[serde(rename = "room-mute")]
    Mute {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// User or guest: id or name; `id:…` is always an id
        user: String,
        /// Reason, shown by `parlor room audit`
        #[arg(long, value_name = "R")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Ban a user or guest from a room; a guest's invite is revoked
    #[serde(rename = "room-ban")]
    Ban {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// User or guest: id or name; `id:…` is always an id
        user: String,
        /// End of the ban: a duration such as 2h or 7d, or a time such as 2026-12-31 or
        /// 2026-12-31T18:00:00Z (UTC) [default: permanent]
        #[arg(long, visible_alias = "for", value_name = "T", value_parser = parse_until)]
        until: Option<u64>,
        /// Reason, shown by `parlor room bans` and `parlor room audit`
        #[arg(long, value_name = "R")]
        reason: Option<String>,
        /// Keep the guest's invite valid for others who have the link
        #[arg(long)]
        keep_invite: bool,
    },
    /// End a ban
    #[serde(rename = "room-unban")]
    Unban {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// User or guest: id or name; `id:…` is always an id
        user: String,
        /// Reason, shown by `parlor room audit`
        #[arg(long, value_name = "R")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// List the bans of a room
    #[serde(rename = "room-bans")]
    Bans {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// Only bans after the one of the user with this id
        #[arg(long, value_name = "ID")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Reject newcomers; members come back in
    #[serde(rename = "room-lock")]
    Lock {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// Reason, shown by `parlor room audit`
        #[arg(long, value_name = "R")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Admit newcomers again
    #[serde(rename = "room-unlock")]
    Unlock {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// Reason, shown by `parlor room audit`
        #[arg(long, value_name = "R")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Change the role of a user in a room; a new owner replaces the old one
    #[serde(rename = "room-role")]
    Role {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// User id or name; `id:…` is always an id
        user: String,
        /// The new role
        #[arg(value_enum)]
        role: RoleName,
        /// Reason, shown by `parlor room audit`
        #[arg(long, value_name = "R")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// List the moderation of a room, newest first
    #[serde(rename = "room-audit")]
    Audit {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// Maximum number of entries
        #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Only entries before the one with this id
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
    },
}

/// A role in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    Owner,
    Moderator,
    Member,
}

impl From<RoleName> for NewRole {
    fn from(name: RoleName) -> NewRole {
        match name {
            RoleName::Owner => NewRole::Owner,
            RoleName::Moderator => NewRole::Moderator,
            RoleName::Member => NewRole::Member,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum InviteCommand {
    /// Create a link that admits guests to a room
    #[serde(rename = "invite-create")]
    Create {
        /// Room id or name; `id:…` is always an id
        room: String,
        /// Validity
        #[arg(long, default_value = "7d", value_parser = parse_lifetime)]
        ttl: Lifetime,
        /// Maximum number of guests [default: no limit]
        #[arg(long, value_name = "N", value_parser = parse_uses)]
        uses: Option<NonZeroU32>,
    },
    /// List valid invites
    #[serde(rename = "invite-list")]
    List {
        /// Only invites to this room (id or name; `id:…` is always an id)
        room: Option<String>,
    },
    /// Revoke an invite
    #[serde(rename = "invite-revoke")]
    Revoke {
        /// Invite id from `parlor invite list`
        id: String,
    },
}

impl RoomCommand {
    pub(super) fn is_read_only(&self) -> bool {
        matches!(
            self,
            RoomCommand::List
                | RoomCommand::Show { .. }
                | RoomCommand::Bans { .. }
                | RoomCommand::Audit { .. }
        )
    }
}
