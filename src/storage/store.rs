//! The port of the store: every operation on users, rooms and memberships.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::error::{ChangeError, CreateError, InviteError, JoinError, StoreError};
use super::model::{
    ActiveGuest, ActiveInvite, Admission, Changes, ChatChanges, ClosedRoom, EndedMembership,
    Invite, JoinGrant, Joined, LeaveOutcome, Membership, NewInvite, NewRoom, NewUser, Participant,
    Person, Preview, RemovedUser, RevocationList, Room, RoomChange, RoomQuery, User,
};
use super::postgres::{PostgresOptions, RedisId, StoreLock};
use super::{postgres, sqlite};
use crate::config;
use crate::metrics::StorageTimings;

/// A handle on the store. Clones share it, and dropping the last one closes the database.
#[derive(Clone)]
pub struct Store {
    pub(super) backend: Backend,
}

/// The place of the data.
#[derive(Clone)]
pub(super) enum Backend {
    Sqlite(sqlite::Database),
    Postgres(postgres::Database),
}

/// Calls the method of the same name of the backend. The future for PostgreSQL is boxed, so that the futures
/// for SQLite stay as small as they are.
macro_rules! call {
    ($store:ident.$operation:ident($($argument:expr),*)) => {
        match &$store.backend {
            Backend::Sqlite(database) => database.$operation($($argument),*).await,
            Backend::Postgres(database) => Box::pin(database.$operation($($argument),*)).await,
        }
    };
}

mod messages;
mod moderation;

impl Store {
    /// Opens the store that the settings name: a PostgreSQL server, or the database file at `path`.
    ///
    /// # Errors
    /// Besides those of the database: it has an unfinished copy of another store.
    pub async fn open_configured<E: From<StoreError>>(
        settings: &config::Store,
        lock: StoreLock,
        path: impl FnOnce() -> Result<PathBuf, E>,
    ) -> Result<Store, E> {
        let (store, database) = match PostgresOptions::configured(settings) {
            Some(options) => {
                let store = Store::connect_with(&options, lock).await?;
                (store, options.url.to_string())
            }
            None => {
                let path = path()?;
                (Store::open(&path)?, path.display().to_string())
            }
        };
        match store.unfinished_copy().await? {
            Some(origin) => Err(StoreError::UnfinishedCopy { database, origin }.into()),
            None => Ok(store),
        }
    }

    /// Checks that a process with these settings could open its store as soon as this one has closed its own: the
    /// PostgreSQL server, if any, takes writes, and no other process has the lock. Returns the Redis that other nodes on
    /// the database reach.
    pub async fn probe(
        &self,
        settings: &config::Store,
        lock: StoreLock,
    ) -> Result<Vec<RedisId>, StoreError> {
        let running = match &self.backend {
            Backend::Sqlite(_) => None,
            Backend::Postgres(database) => Some(database),
        };
        self.check_lock()?;
        match PostgresOptions::configured(settings) {
            Some(options) => postgres::probe(&options, lock, running).await,
            None => Ok(Vec::new()),
        }
    }

    /// Opens the database file at `path`, creates a missing file, and migrates its schema. Blocks
    /// until that is done: call it before serving.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let backend = Backend::Sqlite(sqlite::Database::open(path)?);
        Ok(Store { backend })
    }

    /// Connects to a PostgreSQL server without the lock of its database, and migrates the schema in it.
    pub async fn connect(options: &PostgresOptions) -> Result<Store, StoreError> {
        Store::connect_with(options, StoreLock::None).await
    }

    /// Connects to a PostgreSQL server, takes the lock of its database, and migrates the schema in it.
    pub async fn connect_with(
        options: &PostgresOptions,
        lock: StoreLock,
    ) -> Result<Store, StoreError> {
        let backend = Backend::Postgres(postgres::Database::open(options, lock).await?);
        Ok(Store { backend })
    }

    /// Whether the store is a server of its own.
    pub fn is_remote(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// A counter that grows when *another* process has written, within about half a second.
    pub fn changes(&self) -> watch::Receiver<u64> {
        match &self.backend {
            Backend::Sqlite(database) => database.changes(),
            Backend::Postgres(database) => database.changes(),
        }
    }

    /// Takes the changes of other processes that were noticed since the last call. A file does not say which.
    pub fn take_changes(&self) -> Changes {
        match &self.backend {
            Backend::Sqlite(_) => Changes::Everything,
            Backend::Postgres(database) => database.take_changes(),
        }
    }

    /// Takes the changes of chats by other processes. A file does not say which there are.
    pub fn take_chat_changes(&self) -> ChatChanges {
        match &self.backend {
            Backend::Sqlite(_) => ChatChanges::default(),
            Backend::Postgres(database) => database.take_chat_changes(),
        }
    }

    /// The durations of reads and writes, for metrics.
    pub fn times(&self) -> &StorageTimings {
        match &self.backend {
            Backend::Sqlite(database) => database.times(),
            Backend::Postgres(database) => database.times(),
        }
    }

    /// Checks that no other process has taken the lock of the store meanwhile. Does not ask the server.
    pub fn check_lock(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(()),
            Backend::Postgres(database) => database.check_lock(),
        }
    }

    /// Checks that a write reaches the disk now.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        call!(self.check_writable())
    }

    /// Returns the user with this id, then the one with this name: two at most, since the name of one user
    /// may be the id of another. Ids also find disabled and deleted users; names find neither deleted
    /// users nor guests.
    pub async fn find_users(&self, id_or_name: &str) -> Result<Vec<User>, StoreError> {
        call!(self.find_users(id_or_name))
    }

    /// Returns the user with this name and their password hash, for a login.
    pub async fn login(&self, name: &str) -> Result<Option<(User, Option<String>)>, StoreError> {
        call!(self.login(name))
    }

    /// Returns all users except guests and deleted ones, sorted by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        call!(self.users())
    }

    /// Creates a user with a new id.
    pub async fn add_user(&self, new: NewUser) -> Result<User, CreateError> {
        call!(self.add_user(new))
    }

    /// Whether a user can log in by a password.
    pub async fn has_password(&self, id: &str) -> Result<bool, StoreError> {
        call!(self.has_password(id))
    }

    /// Sets a user's password, as PHC text, and ends their tokens; `None` if the user does not exist or
    /// was deleted.
    pub async fn set_password(
        &self,
        id: &str,
        hash: &str,
        unix: u64,
    ) -> Result<Option<User>, StoreError> {
        call!(self.set_password(id, hash, unix))
    }

    /// Ends all tokens of a user or guest; `None` if the user does not exist or was deleted.
    pub async fn sign_out(&self, id: &str, unix: u64) -> Result<Option<User>, StoreError> {
        call!(self.sign_out(id, unix))
    }

    /// Returns the user with this id, and creates a missing one: for tokens of an issuer with its own
    /// accounts. `display_name` comes from the token.
    pub async fn provision(
        &self,
        id: &str,
        display_name: Option<&str>,
    ) -> Result<User, CreateError> {
        call!(self.provision(id, display_name))
    }

    /// Returns what the relay must reject of the subjects of `changes`, or more: SQLite's list has everything. It has
    /// no limit of age: the lifetime of a foreign credential is unknown.
    pub async fn revocations(
        &self,
        unix: u64,
        changes: &Changes,
    ) -> Result<RevocationList, StoreError> {
        match &self.backend {
            Backend::Sqlite(database) => database.revocations(unix).await,
            Backend::Postgres(database) => Box::pin(database.revocations(unix, changes)).await,
        }
    }

    /// Disables a user, ends their tokens and revokes the invites that they created, which would admit them
    /// again as a guest. Their memberships stay until they are enabled. `None` if the user does not exist
    /// or was deleted.
    pub async fn disable_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        call!(self.disable_user(id, unix))
    }

    /// Enables a disabled user. `None` if the user does not exist or was deleted.
    pub async fn enable_user(&self, id: &str) -> Result<Option<User>, StoreError> {
        call!(self.enable_user(id))
    }

    /// Deletes the names, the password, the memberships and the invites of a user. The id stays rejected, and
    /// their messages stay in the rooms. `None` if the user does not exist or was deleted.
    pub async fn delete_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        call!(self.delete_user(id, unix))
    }

    /// Closes a room, and deletes its name, messages, invites and bans. The id stays closed. `None` if
    /// there is no such room.
    pub async fn delete_room(&self, id: &str, unix: u64) -> Result<Option<ClosedRoom>, StoreError> {
        call!(self.delete_room(id, unix))
    }

    /// Guests whose access has not expired at `unix`, newest first, at most `limit`: all of them, those
    /// with this display name, or those of this room.
    pub async fn guests(
        &self,
        display_name: Option<&str>,
        room_id: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<ActiveGuest>, StoreError> {
        call!(self.guests(display_name, room_id, unix, limit))
    }

    /// The number of guests whose access has not expired at `unix`.
    pub async fn guest_count(&self, unix: u64) -> Result<u32, StoreError> {
        call!(self.guest_count(unix))
    }

    /// Users and guests whose name contains this text, ignoring the case of ASCII letters; at most
    /// `limit`.
    pub async fn search_people(
        &self,
        text: &str,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<Person>, StoreError> {
        call!(self.search_people(text, unix, limit))
    }

    /// The people with these ids; unknown ids are skipped.
    pub async fn people(&self, ids: Vec<String>) -> Result<Vec<Person>, StoreError> {
        call!(self.people(ids))
    }

    /// Returns the room with this id (also a closed one), or else the open room with this name.
    pub async fn room(&self, id_or_name: &str) -> Result<Option<Room>, StoreError> {
        call!(self.room(id_or_name))
    }

    /// Returns the room with this id (also a closed one), then the open room with this name: two at most.
    pub async fn find_rooms(&self, id_or_name: &str) -> Result<Vec<Room>, StoreError> {
        call!(self.find_rooms(id_or_name))
    }

    /// Returns all open rooms, sorted by name.
    pub async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        call!(self.rooms())
    }

    /// Returns the numbers of open rooms and of memberships.
    pub async fn room_counts(&self) -> Result<(i64, i64), StoreError> {
        call!(self.room_counts())
    }

    /// Returns the open rooms that are visible to a user, sorted by name.
    pub async fn visible_rooms(&self, query: RoomQuery) -> Result<Vec<Room>, StoreError> {
        call!(self.visible_rooms(query))
    }

    /// Creates a room.
    pub async fn create_room(&self, new: NewRoom) -> Result<Room, CreateError> {
        call!(self.create_room(new))
    }

    /// Changes an open room.
    pub async fn change_room(&self, id: &str, change: RoomChange) -> Result<Room, ChangeError> {
        call!(self.change_room(id, change))
    }

    /// Closes a room permanently and ends the memberships in it; `None` if there is no such room.
    /// Idempotent.
    pub async fn close_room(&self, id: &str, unix: u64) -> Result<Option<ClosedRoom>, StoreError> {
        call!(self.close_room(id, unix))
    }

    /// Returns the open room, for a user, an invite, or both. The invite is checked and not used up.
    ///
    /// # Errors
    /// `BadInvite` and `InviteRevoked` before anything else about the room; `NoSuchRoom`, `RoomClosed`,
    /// `BanOutcome`, `Kicked`.
    pub async fn preview(
        &self,
        room_id: &str,
        user_id: Option<&str>,
        invite: Option<&str>,
        unix: u64,
    ) -> Result<Preview, JoinError> {
        call!(self.preview(room_id, user_id, invite, unix))
    }

    /// Adds a member if the room admits the user. Idempotent: a member can join again, even a full room.
    pub async fn join(
        &self,
        room_id: &str,
        user_id: &str,
        grant: JoinGrant,
        unix: u64,
    ) -> Result<Joined, JoinError> {
        call!(self.join(room_id, user_id, grant, unix))
    }

    /// Ends the membership, if there is one. Idempotent.
    pub async fn leave(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<LeaveOutcome, StoreError> {
        call!(self.leave(room_id, user_id, unix))
    }

    /// Returns the members of a room, sorted by the time of joining.
    pub async fn participants(
        &self,
        room_id: &str,
        unix: u64,
    ) -> Result<Vec<Participant>, StoreError> {
        call!(self.participants(room_id, unix))
    }

    /// Returns the open rooms of which the user is a member, sorted by name.
    pub async fn memberships(&self, user_id: &str) -> Result<Vec<Membership>, StoreError> {
        call!(self.memberships(user_id))
    }

    /// Returns all data that decides whether the user may connect to the room, in one read.
    pub async fn admission(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<Admission, StoreError> {
        call!(self.admission(room_id, user_id, unix))
    }

    /// Returns the memberships of guests, as `(user id, room id)`.
    pub async fn guest_memberships(&self) -> Result<Vec<(String, String)>, StoreError> {
        call!(self.guest_memberships())
    }

    /// Ends the memberships of guests whose access has expired, and returns them.
    pub async fn end_expired_guests(&self, unix: u64) -> Result<Vec<EndedMembership>, StoreError> {
        call!(self.end_expired_guests(unix))
    }

    /// Creates an invite to an open room.
    pub async fn create_invite(&self, new: NewInvite) -> Result<Invite, InviteError> {
        call!(self.create_invite(new))
    }

    /// Returns the valid invites of all rooms or of one room; oldest first, at most `limit`.
    pub async fn invites(
        &self,
        room_id: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<ActiveInvite>, StoreError> {
        call!(self.invites(room_id, unix, limit))
    }

    /// Changes the expiry of an invite.
    pub async fn set_invite_expiry(&self, id: &str, unix: u64) -> Result<(), StoreError> {
        call!(self.set_invite_expiry(id, unix))
    }

    /// Revokes an invite; false if there is none with this id, or it is for another room.
    pub async fn revoke_invite(
        &self,
        room_id: Option<&str>,
        id: &str,
        unix: u64,
    ) -> Result<bool, StoreError> {
        call!(self.revoke_invite(room_id, id, unix))
    }

    /// Uses an invite to create a guest. The guest has access to the room until `guest_until`, and is not
    /// a member before joining.
    pub async fn redeem_invite(
        &self,
        room_id: Option<&str>,
        invite: &str,
        display_name: &str,
        unix: u64,
        guest_until: u64,
    ) -> Result<User, InviteError> {
        call!(self.redeem_invite(room_id, invite, display_name, unix, guest_until))
    }

    /// Prolongs the access of a guest, which has not expired at `unix`, to `until`. Returns false, without a change, unless
    /// the guest may stay: a member of an open room, not banned, with an invite that is neither revoked nor expired and
    /// whose author is enabled.
    pub async fn prolong_guest(&self, id: &str, unix: u64, until: u64) -> Result<bool, StoreError> {
        call!(self.prolong_guest(id, unix, until))
    }

    /// Deletes invites and bans that expired, and guests whose access expired, before `unix`, so that
    /// they do not accumulate; revoked invites 30 days later. Of the audit, a year stays, and 10,000 entries of a room. Guests who are authors of a message stay.
    pub async fn delete_expired(&self, unix: u64) -> Result<(), StoreError> {
        call!(self.delete_expired(unix))
    }

    /// Overwrites in the files of SQLite what was deleted. PostgreSQL does that by itself (VACUUM).
    pub async fn overwrite_deleted(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Sqlite(database) => database.empty_journal().await,
            Backend::Postgres(_) => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn sqlite(&self) -> &sqlite::Database {
        match &self.backend {
            Backend::Sqlite(database) => database,
            Backend::Postgres(_) => panic!("the store is on PostgreSQL"),
        }
    }
}
