//! `parlor user …`

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::values::PasswordHash;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum UserCommand {
    /// Add a user
    #[serde(rename = "user-add")]
    Add {
        /// User name
        name: String,
        /// Name that others see [default: the user name]
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        /// Grant all permissions
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        #[serde(skip)]
        source: PasswordFlags,
        /// Set before the command is executed; the password itself is not sent.
        #[arg(skip)]
        password: Option<PasswordHash>,
    },
    /// List users
    #[serde(skip)]
    List {
        /// List guests instead: room, invite, expiry
        #[arg(long)]
        guests: bool,
    },
    /// `user list` on the admin socket.
    #[command(skip)]
    #[serde(rename = "user-list")]
    ListUsers,
    /// `user list --guests` on the admin socket: guests whose access has not expired.
    #[command(skip)]
    #[serde(rename = "guest-list")]
    ListGuests,
    /// Show a user and their rooms
    #[serde(rename = "user-show")]
    Show {
        /// User id or name; `id:…` is always an id
        user: String,
    },
    /// Disable a user: close their connections, free their relays, revoke their invites
    #[serde(rename = "user-disable")]
    Disable {
        /// User id or name; `id:…` is always an id
        user: String,
    },
    /// Enable a disabled user
    #[serde(rename = "user-enable")]
    Enable {
        /// User id or name; `id:…` is always an id
        user: String,
    },
    /// Checks whether the user can have a password, before one is typed.
    #[command(skip)]
    #[serde(rename = "user-may-have-password")]
    CheckPassword { user: String },
    /// Set a user's password: from a prompt or PARLOR_PASSWORD
    #[serde(rename = "user-passwd")]
    Passwd {
        /// User id or name; `id:…` is always an id
        user: String,
        /// Read the password from standard input
        #[arg(long)]
        #[serde(skip)]
        password_stdin: bool,
        /// Set before the command is executed; the password itself is not sent.
        #[arg(skip)]
        password: Option<PasswordHash>,
    },
    /// Revoke all tokens of a user or guest, close their connections, free their relays
    #[serde(rename = "user-sign-out")]
    SignOut {
        /// User or guest: id or name; `id:…` is always an id
        user: String,
    },
    /// Delete a user permanently; the id stays blocked, messages stay in their rooms
    #[serde(rename = "user-delete")]
    Delete {
        /// User id or name; `id:…` is always an id
        user: String,
    },
}

/// Where `user add` takes the password from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct PasswordFlags {
    /// Set a password: from a prompt or PARLOR_PASSWORD [default: no password, no login]
    #[arg(id = "password", long = "password")]
    pub ask: bool,
    /// Read the password from standard input
    #[arg(long = "password-stdin", conflicts_with = "password")]
    pub stdin: bool,
}

impl UserCommand {
    pub(super) fn is_read_only(&self) -> bool {
        matches!(
            self,
            UserCommand::List { .. }
                | UserCommand::ListUsers
                | UserCommand::ListGuests
                | UserCommand::Show { .. }
                | UserCommand::CheckPassword { .. }
        )
    }
}
