//! Errors of the store. A fault of the database names the file and what to do.

use std::path::PathBuf;
use std::time::Duration;

use super::utc;
use crate::display_name;

/// A fault of the database itself, independent of the operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the database {}: {reason}; check that its directory exists and is writable", path.display())]
    CannotOpen { path: PathBuf, reason: String },
    #[error("{} is not a database of parlor; move it away, or name another `server.data_dir`", .0.display())]
    NotOurs(PathBuf),
    #[error("the database {} is damaged; restore it from a backup", .0.display())]
    Damaged(PathBuf),
    #[error(
        "the database {} has schema {found}, and this parlor knows schemas up to {known}; \
         run the version that created it, or a newer one", path.display()
    )]
    NewerSchema {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("the database {} cannot be written; check the owner and mode of the file and its directory, and that its file system is not mounted read-only", .0.display())]
    ReadOnly(PathBuf),
    #[error("another process holds the database {} locked; try again when it has finished", .0.display())]
    Locked(PathBuf),
    #[error("no space is left for the database {}; make room on its file system", .0.display())]
    Full(PathBuf),
    #[error(
        "the disk below the database {} failed ({reason}); the system's log says what is wrong with it",
        path.display()
    )]
    Disk { path: PathBuf, reason: String },
    #[error("the database {} failed: {reason}", path.display())]
    Failed { path: PathBuf, reason: String },
    #[error(
        "the database {} was removed or replaced while parlor has it open, and nothing more is written; \
         put the file back, or restart parlor to use what is there now", .0.display()
    )]
    Replaced(PathBuf),
    #[error(
        "the database {} did not answer within {} s; its disk is slow or stuck, or another process \
         keeps it busy", path.display(), timeout.as_secs()
    )]
    TimedOut { path: PathBuf, timeout: Duration },
    #[error("the database {} is closed", .0.display())]
    Closed(PathBuf),
    #[error(
        "the PostgreSQL server {server} cannot be reached: {reason}; check that it runs, and `store.url`"
    )]
    ServerUnreachable { server: String, reason: String },
    #[error(
        "the PostgreSQL server {server} cannot be used: {reason}; {}",
        advice(reason)
    )]
    ServerRefused { server: String, reason: String },
    #[error(
        "the PostgreSQL server {server} did not answer within {} s; check its load, its disk, and what its log says",
        timeout.as_secs()
    )]
    ServerTimedOut { server: String, timeout: Duration },
    #[error(
        "the PostgreSQL server {0} takes no writes: it is a standby, or set to read-only; name the primary server in \
         `store.url`"
    )]
    ServerReadOnly(String),
    #[error("the disk of the PostgreSQL server {0} is full; make room on it")]
    ServerFull(String),
    #[error(
        "the PostgreSQL server {server} cannot do that at the moment: {reason}; try again later, and look at its log"
    )]
    ServerBusy { server: String, reason: String },
    #[error(
        "another parlor uses the database {server} ({holder}); stop it, or name a database of its own in \
         `store.url`"
    )]
    ServerInUse { server: String, holder: String },
    #[error(
        "the database {database} has an unfinished copy of {origin}: run the same `parlor store copy` again, \
         with the settings of that store"
    )]
    UnfinishedCopy { database: String, origin: String },
    #[error(
        "the database {server} was not migrated to schema {schema}: other sessions kept its tables locked; end their \
         transactions (`pg_stat_activity` lists them), and start parlor again"
    )]
    ServerTablesInUse { server: String, schema: i32 },
    #[error("the PostgreSQL server {server} failed: {reason}; its log may say more")]
    ServerFailed { server: String, reason: String },
    #[error(
        "the schema `parlor` at the PostgreSQL server {0} has tables that are not parlor's; use another database"
    )]
    ServerNotOurs(String),
    #[error(
        "the database at the PostgreSQL server {server} has schema {found}, and this parlor knows schemas \
         up to {known}; run the version that created it, or a newer one"
    )]
    NewerServerSchema {
        server: String,
        found: i32,
        known: i32,
    },
}

/// The reason why a user or a room was not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    #[error("the name `{0}` is taken")]
    NameTaken(String),
    #[error("the id `{0}` is taken")]
    IdTaken(String),
    /// An invalid id, and the rule for ids.
    #[error("`{0}` cannot be an id: use {1}")]
    BadId(String, &'static str),
    #[error("a name needs {}", display_name::RULE)]
    BadName,
    #[error("a room holds 1 to 1,000,000 participants, not {0}")]
    BadCapacity(u32),
    #[error("there is no user `{0}`")]
    NoSuchOwner(String),
    /// The owner of a new room may not act.
    #[error(transparent)]
    Owner(JoinError),
    #[error("a user owns at most {0} open rooms; close one first")]
    TooManyRooms(u32),
    #[error("the user `{0}` was deleted, and a deleted id stays refused")]
    Deleted(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why a room was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is closed")]
    RoomClosed,
    /// The new values are not valid for a room.
    #[error(transparent)]
    Refused(#[from] CreateError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why a message was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("a message has 1 to 4000 characters, not all of them blank")]
    BadContent,
    #[error("only participants write in a room")]
    NotAMember,
    /// The author has no access to the room.
    #[error(transparent)]
    Author(JoinError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why a user did not join a room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is closed")]
    RoomClosed,
    #[error("the room is locked: the owner and moderators unlock it")]
    RoomLocked,
    #[error("the room is full")]
    RoomFull,
    #[error("the room is private; ask its owner for an invite")]
    NotInvited,
    #[error("the invite is wrong, used up or expired; ask for a new one")]
    BadInvite,
    #[error("the invite was revoked; ask for a new one")]
    InviteRevoked,
    #[error(
        "the user is banned from this room{}: `parlor room unban` ends the ban",
        end(*.until)
    )]
    Banned { until: Option<u64> },
    #[error("the user was removed from this room, and may join again {wait} s from now")]
    Kicked { wait: u64 },
    #[error("a guest belongs to one room, and it is not this one")]
    GuestElsewhere,
    #[error("the guest's time has run out")]
    GuestExpired,
    #[error("there is no such user")]
    NoSuchUser,
    #[error("the user is disabled")]
    UserDisabled,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why a user was not banned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BanError {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("there is no such user")]
    NoSuchUser,
    #[error(
        "the user is an admin, and admins cannot be banned from a room: `parlor user disable` \
         keeps them out"
    )]
    Admin,
    #[error(
        "the user owns the room, and owners cannot be banned from theirs: `parlor user disable` \
         keeps them out"
    )]
    Owner,
    #[error("the user is a guest of another room, and cannot enter this one")]
    GuestElsewhere,
    #[error("the ban would have ended already: name a time that is yet to come")]
    Past,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why a role was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is closed")]
    RoomClosed,
    #[error("only the owner of the room does this, and it has another one now")]
    NotOwner,
    #[error("there is no such user")]
    NoSuchUser,
    #[error("a guest is never an owner or a moderator")]
    Guest,
    #[error("the user is disabled")]
    UserDisabled,
    #[error("the user is banned from this room")]
    Banned,
    #[error("a room keeps its owner: make another user the owner instead")]
    LastOwner,
    #[error("a user owns at most {0} open rooms")]
    TooManyRooms(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why an invite was not created or not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is closed")]
    RoomClosed,
    #[error("the room is locked: the owner and moderators unlock it")]
    RoomLocked,
    #[error("the room is full")]
    RoomFull,
    #[error("the invite is wrong, used up or expired; ask for a new one")]
    BadInvite,
    #[error("the invite was revoked; ask for a new one")]
    Revoked,
    #[error("a name needs {}", display_name::RULE)]
    BadName,
    #[error("an invite is good for at least one use")]
    NoUses,
    #[error(
        "a room has at most {0} invites that are still good, and so has a user: revoke one first"
    )]
    TooMany(u32),
    /// The author of a new invite may not act.
    #[error(transparent)]
    Author(JoinError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the advice for a server that refuses this parlor.
fn advice(reason: &str) -> &'static str {
    if reason.contains("password") {
        "check `store.password_file`, `store.password` or the credential `store.password`"
    } else {
        "check `[store]` and the rights of the role"
    }
}

/// The end of a ban, worded as a part of a sentence.
fn end(until: Option<u64>) -> String {
    until.map_or(String::new(), |unix| {
        format!(" until {}", utc::format(unix))
    })
}
