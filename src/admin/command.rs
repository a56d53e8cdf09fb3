//! The commands that a running server executes. One enum serves the command line (clap) and the
//! admin socket (JSON): `parlor user disable alice` is `{"user-disable":{"user":"alice"}}` there.
//!
//! A server and a command of different versions may meet, for example during an upgrade. So the
//! JSON of existing commands must not change; unknown commands and fields are rejected.

mod rooms;
mod users;
mod values;

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use rooms::{InviteCommand, RoomCommand};
pub use users::{PasswordFlags, UserCommand};
pub use values::{Grant, Lifetime, PasswordHash};

use super::status::{NOT_RELOADED, NOT_UPGRADED};
use values::parse_lifetime;

/// A command for the server. Without a server, the process that was started executes it on the
/// database, where that is possible.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(untagged, expecting = "the command or one of its fields is unknown")]
pub enum AdminCommand {
    /// Add, list, disable and delete users
    #[command(subcommand)]
    User(UserCommand),
    /// Create, list and close rooms; add, remove and ban members
    #[command(subcommand)]
    Room(RoomCommand),
    /// Create, list and revoke invite links for guests
    #[command(subcommand)]
    Invite(InviteCommand),
    /// Issue tokens for the API and signaling
    #[command(subcommand)]
    Token(TokenCommand),
    /// Issue credentials for the TURN relay
    #[command(subcommand)]
    Turn(TurnCommand),
    /// Close single connections and relays
    #[command(subcommand)]
    Session(SessionCommand),
    #[command(flatten)]
    Server(ServerCommand),
}

/// The consequence for a command if no server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutServer {
    /// It fails.
    Fails,
    /// It uses the database.
    UsesDatabase,
    /// It uses the database, and creates a missing one.
    CreatesDatabase,
}

/// Commands about the server as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServerCommand {
    /// Show server status: uptime, listeners, readiness, usage
    Status,
    /// List connected people: room, transport, start time, bytes relayed
    Sessions {
        /// Show one row per WebSocket and per allocation, instead of one per person
        #[arg(long)]
        all: bool,
        /// Show the quality of each person's links to and from the relay, the worst first
        #[arg(long)]
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        quality: bool,
    },
    /// Show a live view of rooms, people and the quality of their links in this terminal
    Top,
    /// List the nodes of a cluster: version, start time, usage, relay host
    Nodes,
    /// Reload the configuration; a configuration with an error changes nothing
    Reload,
    /// Drain the server, then stop it: reject new users, move connections to another server, let
    /// calls finish; other nodes of a cluster continue
    Drain {
        /// Maximum duration; remaining calls are interrupted then
        #[arg(long, default_value = "10m", value_parser = parse_lifetime)]
        timeout: Lifetime,
        /// Return at once, instead of when the server has stopped
        #[arg(long)]
        #[serde(skip)]
        detach: bool,
    },
    /// Replace the running server with the binary now on disk, keeping calls over UDP (Linux); a
    /// binary that rejects this configuration changes nothing
    Upgrade,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum TokenCommand {
    /// Issue a token for a user
    #[serde(rename = "token-issue")]
    Issue(Grant),
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum TurnCommand {
    /// Issue a TURN credential for a user
    #[serde(rename = "turn-credential")]
    Credential(Grant),
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SessionCommand {
    /// Close one WebSocket or free one allocation; the client may reconnect (`user disable` and
    /// `room ban` prevent that)
    #[serde(rename = "session-kill")]
    Kill {
        /// Session id from `parlor sessions --all`, or its first 4 or more digits
        id: String,
    },
}

impl AdminCommand {
    /// Returns the command as it is typed, without its arguments: for logs.
    pub fn name(&self) -> String {
        let tag = match serde_json::to_value(self) {
            Ok(Value::String(tag)) => Some(tag),
            Ok(Value::Object(tagged)) => tagged.into_iter().map(|(tag, _)| tag).next(),
            _ => None,
        };
        tag.unwrap_or_default().replacen('-', " ", 1)
    }

    /// Says what follows from a refusal of the command, if that is not evident: a running server continues.
    pub fn consequence_of_refusal(&self) -> Option<&'static str> {
        match self {
            AdminCommand::Server(ServerCommand::Reload) => Some(NOT_RELOADED),
            AdminCommand::Server(ServerCommand::Upgrade) => Some(NOT_UPGRADED),
            _ => None,
        }
    }

    /// Returns whether the command changes nothing.
    pub fn is_read_only(&self) -> bool {
        match self {
            AdminCommand::User(command) => command.is_read_only(),
            AdminCommand::Room(command) => command.is_read_only(),
            AdminCommand::Invite(command) => matches!(command, InviteCommand::List { .. }),
            AdminCommand::Token(_) | AdminCommand::Turn(_) | AdminCommand::Session(_) => false,
            AdminCommand::Server(command) => {
                matches!(
                    command,
                    ServerCommand::Status
                        | ServerCommand::Sessions { .. }
                        | ServerCommand::Top
                        | ServerCommand::Nodes
                )
            }
        }
    }

    /// Returns the consequence if no server runs. A command creates a missing database if it is useful without one.
    /// `provisions` says whether a token creates its user.
    pub fn without_server(&self, provisions: bool) -> WithoutServer {
        match self {
            _ if self.requires_server() => WithoutServer::Fails,
            AdminCommand::User(UserCommand::Add { .. })
            | AdminCommand::Room(RoomCommand::Create { .. }) => WithoutServer::CreatesDatabase,
            AdminCommand::Token(TokenCommand::Issue(_)) if provisions => {
                WithoutServer::CreatesDatabase
            }
            _ => WithoutServer::UsesDatabase,
        }
    }

    /// Returns whether only a running server can execute the command.
    pub fn requires_server(&self) -> bool {
        matches!(self, AdminCommand::Server(_) | AdminCommand::Session(_))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(subcommand)]
        command: AdminCommand,
    }

    fn parsed(arguments: &str) -> AdminCommand {
        let words = ["parlor"].into_iter().chain(arguments.split(' '));
        CommandLine::try_parse_from(words).expect(arguments).command
    }

    /// Command lines, and the JSON that released versions send and understand.
    const WIRE_FORMAT: [(&str, &str); 35] = [
        (
            "user add alice --display-name A --admin",
            r#"{"user-add":{"name":"alice","display_name":"A","admin":true,"password":null}}"#,
        ),
        ("user show alice", r#"{"user-show":{"user":"alice"}}"#),
        ("user disable alice", r#"{"user-disable":{"user":"alice"}}"#),
        ("user enable alice", r#"{"user-enable":{"user":"alice"}}"#),
        (
            "user sign-out alice",
            r#"{"user-sign-out":{"user":"alice"}}"#,
        ),
        ("user delete alice", r#"{"user-delete":{"user":"alice"}}"#),
        (
            "room create Daily --id daily --max-participants 5 --private",
            r#"{"room-create":{"name":"Daily","id":"daily","max_participants":5,"private":true}}"#,
        ),
        ("room list", r#""room-list""#),
        ("room show daily", r#"{"room-show":{"room":"daily"}}"#),
        ("room close daily", r#"{"room-close":{"room":"daily"}}"#),
        ("room delete daily", r#"{"room-delete":{"room":"daily"}}"#),
        (
            "room add-member daily alice",
            r#"{"room-add-member":{"room":"daily","user":"alice"}}"#,
        ),
        (
            "room kick daily alice",
            r#"{"room-kick":{"room":"daily","user":"alice"}}"#,
        ),
        (
            "room ban daily alice --until 2026-12-31 --reason R",
            r#"{"room-ban":{"room":"daily","user":"alice","until":1798675200,"reason":"R","keep_invite":false}}"#,
        ),
        (
            "room unban daily alice",
            r#"{"room-unban":{"room":"daily","user":"alice"}}"#,
        ),
        ("room bans daily", r#"{"room-bans":{"room":"daily"}}"#),
        (
            "room kick daily alice --reason R",
            r#"{"room-kick":{"room":"daily","user":"alice","reason":"R"}}"#,
        ),
        ("room lock daily", r#"{"room-lock":{"room":"daily"}}"#),
        (
            "room unlock daily --reason R",
            r#"{"room-unlock":{"room":"daily","reason":"R"}}"#,
        ),
        (
            "room role daily alice moderator",
            r#"{"room-role":{"room":"daily","user":"alice","role":"moderator"}}"#,
        ),
        (
            "room audit daily",
            r#"{"room-audit":{"room":"daily","limit":50,"before":null}}"#,
        ),
        (
            "invite create daily --ttl 1h --uses 3",
            r#"{"invite-create":{"room":"daily","ttl":3600,"uses":3}}"#,
        ),
        ("invite list", r#"{"invite-list":{"room":null}}"#),
        ("invite revoke i", r#"{"invite-revoke":{"id":"i"}}"#),
        (
            "token issue alice",
            r#"{"token-issue":{"user":"alice","ttl":3600,"room":null}}"#,
        ),
        (
            "turn credential alice --room daily",
            r#"{"turn-credential":{"user":"alice","ttl":3600,"room":"daily"}}"#,
        ),
        ("session kill 0123", r#"{"session-kill":{"id":"0123"}}"#),
        ("status", r#""status""#),
        ("sessions --all", r#"{"sessions":{"all":true}}"#),
        ("sessions", r#"{"sessions":{"all":false}}"#),
        ("top", r#""top""#),
        ("nodes", r#""nodes""#),
        ("reload", r#""reload""#),
        ("drain --timeout 1m", r#"{"drain":{"timeout":60}}"#),
        ("upgrade", r#""upgrade""#),
    ];

    #[test]
    fn a_command_has_the_json_of_released_versions_in_both_directions() {
        for (arguments, json) in WIRE_FORMAT {
            let command = parsed(arguments);
            assert_eq!(serde_json::to_string(&command).unwrap(), json);
            let read: AdminCommand = serde_json::from_str(json).unwrap();
            assert_eq!(read, command, "{arguments}");
            assert!(arguments.starts_with(&command.name()), "{}", command.name());
        }
    }

    #[test]
    fn commands_that_differ_from_what_is_typed_keep_their_json_too() {
        let hash = || Some(PasswordHash("$argon2id$x".to_owned()));
        let user = || "alice".to_owned();
        for (command, json) in [
            (UserCommand::ListUsers, r#""user-list""#),
            (UserCommand::ListGuests, r#""guest-list""#),
            (
                UserCommand::CheckPassword { user: user() },
                r#"{"user-may-have-password":{"user":"alice"}}"#,
            ),
            (
                UserCommand::Passwd {
                    user: user(),
                    password_stdin: false,
                    password: hash(),
                },
                r#"{"user-passwd":{"user":"alice","password":"$argon2id$x"}}"#,
            ),
        ] {
            let command = AdminCommand::User(command);
            assert_eq!(serde_json::to_string(&command).unwrap(), json);
            let read: AdminCommand = serde_json::from_str(json).unwrap();
            assert_eq!(read, command);
            assert!(!format!("{command:?}").contains("argon"));
        }
    }

    #[test]
    fn an_unknown_command_or_field_is_rejected() {
        for json in [
            r#""user-forget""#,
            r#"{"user-show":{"user":"alice","more":1}}"#,
            r#"{"status":{}}"#,
            r#"{"drain":{"timeout":60,"detach":true}}"#,
            "{}",
        ] {
            let error = serde_json::from_str::<AdminCommand>(json).unwrap_err();
            assert!(error.to_string().contains("unknown"), "{json}: {error}");
        }
    }
}
