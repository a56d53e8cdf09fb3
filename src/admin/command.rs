//! Every command that works on what parlor keeps, or on what runs. The same value is carried out by
//! the running daemon, to which it travels as JSON, and without one by the process that read it
//! from a command line.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::duration;

/// One command. Users and rooms are named by a word: an id, a name, or `id:…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    UserAdd {
        name: String,
        display_name: Option<String>,
        admin: bool,
        password: Option<PasswordHash>,
    },
    UserList,
    /// Guests whose access has not expired.
    GuestList,
    UserShow {
        user: String,
    },
    UserDisable {
        user: String,
    },
    UserEnable {
        user: String,
    },
    /// Whether `passwd` would do: asked before anybody is made to type one.
    UserMayHavePassword {
        user: String,
    },
    UserPasswd {
        user: String,
        password: PasswordHash,
    },
    UserSignOut {
        user: String,
    },
    UserDelete {
        user: String,
    },
    RoomCreate {
        name: String,
        id: Option<String>,
        max_participants: Option<u32>,
        private: bool,
    },
    RoomList,
    RoomShow {
        room: String,
    },
    RoomClose {
        room: String,
    },
    RoomDelete {
        room: String,
    },
    RoomAddMember {
        room: String,
        user: String,
    },
    RoomKick {
        room: String,
        user: String,
    },
    RoomBan {
        room: String,
        user: String,
        /// Unix seconds; `None`: permanent.
        until: Option<u64>,
        reason: Option<String>,
        keep_invite: bool,
    },
    RoomUnban {
        room: String,
        user: String,
    },
    RoomBans {
        room: String,
    },
    InviteCreate {
        room: String,
        ttl: Lifetime,
        uses: Option<NonZeroU32>,
    },
    InviteList {
        room: Option<String>,
    },
    InviteRevoke {
        id: String,
    },
    TokenIssue(Grant),
    TurnCredential(Grant),
    Status,
    Sessions {
        /// One row per WebSocket and per allocation, instead of one per person.
        all: bool,
    },
    SessionKill {
        /// A session's id, or a prefix of it.
        id: String,
    },
    Reload,
    Drain {
        timeout: Lifetime,
    },
    Upgrade,
}

/// What a token and a credential are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub user: String,
    pub ttl: Lifetime,
    /// The only room that it is good for.
    pub room: Option<String>,
}

/// What is kept of a password. It travels instead of it, and is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

/// Whole seconds: from one second to 3,660 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Lifetime(Duration);

impl Command {
    /// As it is typed: for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Command::UserAdd { .. } => "user add",
            Command::UserList | Command::GuestList => "user list",
            Command::UserShow { .. } => "user show",
            Command::UserDisable { .. } => "user disable",
            Command::UserEnable { .. } => "user enable",
            Command::UserMayHavePassword { .. } | Command::UserPasswd { .. } => "user passwd",
            Command::UserSignOut { .. } => "user sign-out",
            Command::UserDelete { .. } => "user delete",
            Command::RoomCreate { .. } => "room create",
            Command::RoomList => "room list",
            Command::RoomShow { .. } => "room show",
            Command::RoomClose { .. } => "room close",
            Command::RoomDelete { .. } => "room delete",
            Command::RoomAddMember { .. } => "room add-member",
            Command::RoomKick { .. } => "room kick",
            Command::RoomBan { .. } => "room ban",
            Command::RoomUnban { .. } => "room unban",
            Command::RoomBans { .. } => "room bans",
            Command::InviteCreate { .. } => "invite create",
            Command::InviteList { .. } => "invite list",
            Command::InviteRevoke { .. } => "invite revoke",
            Command::TokenIssue(_) => "token issue",
            Command::TurnCredential(_) => "turn credential",
            Command::Status => "status",
            Command::Sessions { .. } => "sessions",
            Command::SessionKill { .. } => "session kill",
            Command::Reload => "reload",
            Command::Drain { .. } => "drain",
            Command::Upgrade => "upgrade",
        }
    }

    /// Whether it only looks.
    pub fn is_read_only(&self) -> bool {
        matches!(
            self,
            Command::UserList
                | Command::GuestList
                | Command::UserShow { .. }
                | Command::UserMayHavePassword { .. }
                | Command::RoomList
                | Command::RoomShow { .. }
                | Command::RoomBans { .. }
                | Command::InviteList { .. }
                | Command::Status
                | Command::Sessions { .. }
        )
    }
}

impl Lifetime {
    /// # Errors
    /// What it must be instead.
    pub fn new(span: Duration) -> Result<Lifetime, &'static str> {
        if span < Duration::from_secs(1) {
            return Err("it must be one second or longer, such as 1h or 7d");
        }
        if span > duration::LONGEST {
            return Err("it must not be longer than 3,660 days");
        }
        Ok(Lifetime(Duration::from_secs(span.as_secs())))
    }

    pub fn span(self) -> Duration {
        self.0
    }

    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl TryFrom<u64> for Lifetime {
    type Error = &'static str;

    fn try_from(seconds: u64) -> Result<Lifetime, &'static str> {
        Lifetime::new(Duration::from_secs(seconds))
    }
}

impl From<Lifetime> for u64 {
    fn from(lifetime: Lifetime) -> u64 {
        lifetime.as_secs()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_shows_no_hash_and_keeps_it_on_its_way() {
        let command = Command::UserPasswd {
            user: "alice".to_owned(),
            password: PasswordHash("$argon2id$x".to_owned()),
        };
        assert!(!format!("{command:?}").contains("argon"));
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
    }

    #[test]
    fn a_lifetime_is_neither_zero_nor_absurd() {
        for seconds in [0, 10 * 366 * 86_400 + 1, u64::MAX] {
            let text = format!(r#"{{"user":"a","ttl":{seconds},"room":null}}"#);
            assert!(serde_json::from_str::<Grant>(&text).is_err(), "{seconds}");
        }
        let ten_years = duration::parse("10y").unwrap();
        assert!(Lifetime::new(ten_years).is_ok());
        let message = Lifetime::new(Duration::from_secs(3661 * 86_400)).unwrap_err();
        assert!(message.contains(duration::LONGEST_IN_WORDS), "{message}");
        assert_eq!(Lifetime::try_from(90).unwrap().as_secs(), 90);
    }
}
