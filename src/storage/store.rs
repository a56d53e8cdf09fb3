//! The port of the store: every operation on users, rooms and memberships, whatever database is behind it.

use std::path::Path;

use tokio::sync::watch;

use super::error::{
    BanError, ChangeError, CreateError, InviteError, JoinError, MessageError, StoreError,
};
use super::model::*;
use super::sqlite::Database;
use crate::metrics::StorageTimings;

/// A handle on the store. Clones share it, and dropping the last one closes the database.
#[derive(Clone)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the database file at `path`, creates a missing file, and migrates its schema. Blocks
    /// until that is done: call it before serving.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let database = Database::open(path)?;
        Ok(Store { database })
    }

    /// A counter that grows when *another* process has written, within about half a second.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.database.changes()
    }

    /// The durations of reads and writes, for metrics.
    pub fn times(&self) -> &StorageTimings {
        self.database.times()
    }

    /// Checks that a write reaches the disk now.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.database.check_writable().await
    }

    /// The user whose id this is, then the one whose name it is: two at most, since nothing keeps
    /// the name of one from being the id of another. Ids find disabled users and tombstones too,
    /// names neither tombstones nor guests.
    pub async fn find_users(&self, id_or_name: &str) -> Result<Vec<User>, StoreError> {
        self.database.find_users(id_or_name).await
    }

    /// The user whose name this is, and what their password is kept as; for whoever logs in.
    pub async fn login(&self, name: &str) -> Result<Option<(User, Option<String>)>, StoreError> {
        self.database.login(name).await
    }

    /// All users but guests and the deleted, by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.database.users().await
    }

    /// Makes a user with a fresh id.
    pub async fn add_user(&self, new: NewUser) -> Result<User, CreateError> {
        self.database.add_user(new).await
    }

    /// Whether a user can log in by a password.
    pub async fn has_password(&self, id: &str) -> Result<bool, StoreError> {
        self.database.has_password(id).await
    }

    /// Sets a user's password, as PHC text, and ends their tokens; `None` if the user does not exist or
    /// was deleted.
    pub async fn set_password(
        &self,
        id: &str,
        hash: &str,
        unix: u64,
    ) -> Result<Option<User>, StoreError> {
        self.database.set_password(id, hash, unix).await
    }

    /// Ends all tokens of a user or guest; `None` if the user does not exist or was deleted.
    pub async fn sign_out(&self, id: &str, unix: u64) -> Result<Option<User>, StoreError> {
        self.database.sign_out(id, unix).await
    }

    /// The user with this id, made if there is none: for tokens of an issuer who knows users that
    /// the store does not. `display_name` is what the token calls them.
    pub async fn provision(
        &self,
        id: &str,
        display_name: Option<&str>,
    ) -> Result<User, CreateError> {
        self.database.provision(id, display_name).await
    }

    /// Whom the relay must turn away, the banned included. How long ago does not matter: nobody knows until when a
    /// credential was minted, or by whom.
    pub async fn revocations(&self, unix: u64) -> Result<RevocationList, StoreError> {
        self.database.revocations(unix).await
    }

    /// Keeps a user out, ends their tokens and takes back the invites that they made, which would let
    /// them in again as a guest. Their memberships stay for the day on which they are enabled. `None` where there is
    /// no such user, or no more.
    pub async fn disable_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        self.database.disable_user(id, unix).await
    }

    /// Lets a disabled user in again. `None` where there is no such user, or no more.
    pub async fn enable_user(&self, id: &str) -> Result<Option<User>, StoreError> {
        self.database.enable_user(id).await
    }

    /// Deletes a user: what they are called, their password, memberships and invites. The id stays
    /// refused, and what they wrote stays in its rooms. `None` where there is no such user, or no
    /// more.
    pub async fn delete_user(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<RemovedUser>, StoreError> {
        self.database.delete_user(id, unix).await
    }

    /// Closes a room, and erases what it was called and everything in it. The id stays closed.
    /// `None` where there is no such room.
    pub async fn delete_room(&self, id: &str, unix: u64) -> Result<Option<ClosedRoom>, StoreError> {
        self.database.delete_room(id, unix).await
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
        self.database
            .guests(display_name, room_id, unix, limit)
            .await
    }

    /// The number of guests whose access has not expired at `unix`.
    pub async fn guest_count(&self, unix: u64) -> Result<u32, StoreError> {
        self.database.guest_count(unix).await
    }

    /// Users and guests whose name contains this text, ignoring the case of ASCII letters; at most
    /// `limit`.
    pub async fn search_people(
        &self,
        text: &str,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<Person>, StoreError> {
        self.database.search_people(text, unix, limit).await
    }

    /// The people with these ids; unknown ids are skipped.
    pub async fn people(&self, ids: Vec<String>) -> Result<Vec<Person>, StoreError> {
        self.database.people(ids).await
    }

    /// The room whose id this is (closed ones too), else the open one whose name it is.
    pub async fn room(&self, id_or_name: &str) -> Result<Option<Room>, StoreError> {
        self.database.room(id_or_name).await
    }

    /// The room whose id this is (closed ones too), then the open one whose name it is: two at most.
    pub async fn find_rooms(&self, id_or_name: &str) -> Result<Vec<Room>, StoreError> {
        self.database.find_rooms(id_or_name).await
    }

    /// All open rooms, by name.
    pub async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        self.database.rooms().await
    }

    /// How many rooms are open, and how many memberships there are in them.
    pub async fn room_counts(&self) -> Result<(i64, i64), StoreError> {
        self.database.room_counts().await
    }

    /// The open rooms that somebody gets to see, by name.
    pub async fn visible_rooms(&self, query: RoomQuery) -> Result<Vec<Room>, StoreError> {
        self.database.visible_rooms(query).await
    }

    pub async fn create_room(&self, new: NewRoom) -> Result<Room, CreateError> {
        self.database.create_room(new).await
    }

    pub async fn change_room(&self, id: &str, change: RoomChange) -> Result<Room, ChangeError> {
        self.database.change_room(id, change).await
    }

    /// Closes a room for good and ends the memberships in it; `None` where there is no such room.
    /// Closing it again changes nothing.
    pub async fn close_room(&self, id: &str, unix: u64) -> Result<Option<ClosedRoom>, StoreError> {
        self.database.close_room(id, unix).await
    }

    /// Returns the open room, for a user, an invite, or both. The invite is checked and not used up.
    ///
    /// # Errors
    /// `BadInvite` and `Withdrawn` before anything else about the room; `NoSuchRoom`, `RoomClosed`,
    /// `BanOutcome`, `Kicked`.
    pub async fn preview(
        &self,
        room_id: &str,
        user_id: Option<&str>,
        invite: Option<&str>,
        unix: u64,
    ) -> Result<Preview, JoinError> {
        self.database.preview(room_id, user_id, invite, unix).await
    }

    /// Makes the user a member, if the room lets them in. A member who joins again is answered the
    /// same, even in a full room.
    pub async fn join(
        &self,
        room_id: &str,
        user_id: &str,
        grant: JoinGrant,
        unix: u64,
    ) -> Result<Room, JoinError> {
        self.database.join(room_id, user_id, grant, unix).await
    }

    /// Ends the membership, if there is one.
    pub async fn leave(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<LeaveOutcome, StoreError> {
        self.database.leave(room_id, user_id, unix).await
    }

    /// The members of a room, in the order in which they came.
    pub async fn participants(
        &self,
        room_id: &str,
        unix: u64,
    ) -> Result<Vec<Participant>, StoreError> {
        self.database.participants(room_id, unix).await
    }

    /// The open rooms that somebody is a member of, by name.
    pub async fn memberships(&self, user_id: &str) -> Result<Vec<Membership>, StoreError> {
        self.database.memberships(user_id).await
    }

    /// Everything that decides whether this user may connect to this room, in one read.
    pub async fn admission(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<Admission, StoreError> {
        self.database.admission(room_id, user_id, unix).await
    }

    /// The seats that guests hold, as `(user id, room id)`.
    pub async fn guest_memberships(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.database.guest_memberships().await
    }

    /// Ends the memberships of guests whose time has run out, and names them as
    /// `(user id, room id)`.
    pub async fn end_expired_guests(&self, unix: u64) -> Result<Vec<(String, String)>, StoreError> {
        self.database.end_expired_guests(unix).await
    }

    /// Ends a membership and rejects the user until `until`; `None` if there is no membership.
    pub async fn kick(
        &self,
        room_id: &str,
        user_id: &str,
        until: u64,
        unix: u64,
    ) -> Result<Option<LeaveOutcome>, StoreError> {
        self.database.kick(room_id, user_id, until, unix).await
    }

    /// Bans a user, member or not, and ends the membership if there is one. The invite that a guest
    /// used is revoked, unless it shall be kept. A second ban replaces the first.
    pub async fn ban(&self, new: NewBan, unix: u64) -> Result<BanOutcome, BanError> {
        self.database.ban(new, unix).await
    }

    /// Ends a ban; false if there is none.
    pub async fn unban(&self, room_id: &str, user_id: &str) -> Result<bool, StoreError> {
        self.database.unban(room_id, user_id).await
    }

    /// The bans of a room that are in force at `unix`, newest first, at most `limit`.
    pub async fn bans(&self, room_id: &str, unix: u64, limit: u32) -> Result<Vec<Ban>, StoreError> {
        self.database.bans(room_id, unix, limit).await
    }

    pub async fn create_invite(&self, new: NewInvite) -> Result<Invite, InviteError> {
        self.database.create_invite(new).await
    }

    /// The valid invites, of all rooms or of this room; oldest first, at most `limit`.
    pub async fn invites(
        &self,
        room_id: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<ActiveInvite>, StoreError> {
        self.database.invites(room_id, unix, limit).await
    }

    /// Changes when an invite ends.
    pub async fn end_invite_at(&self, id: &str, unix: u64) -> Result<(), StoreError> {
        self.database.end_invite_at(id, unix).await
    }

    /// Revokes an invite; false if there is none with this id, or none of this room.
    pub async fn revoke_invite(
        &self,
        room_id: Option<&str>,
        id: &str,
        unix: u64,
    ) -> Result<bool, StoreError> {
        self.database.revoke_invite(room_id, id, unix).await
    }

    /// Makes a guest of whoever brings the invite. The guest belongs to the room until
    /// `guest_until`, but is no member before joining.
    pub async fn redeem_invite(
        &self,
        room_id: Option<&str>,
        invite: &str,
        display_name: &str,
        unix: u64,
        guest_until: u64,
    ) -> Result<User, InviteError> {
        self.database
            .redeem_invite(room_id, invite, display_name, unix, guest_until)
            .await
    }

    /// Deletes invites and bans that expired, and guests whose access expired, before `unix`, so that
    /// they do not accumulate; revoked invites 30 days later. Guests who are authors of a message stay.
    pub async fn delete_expired(&self, unix: u64) -> Result<(), StoreError> {
        self.database.delete_expired(unix).await
    }

    /// Writes a message of a participant; it is on the disk when this returns. The room keeps the
    /// newest `keep` (0: all).
    pub async fn post_message(
        &self,
        new: NewMessage,
        keep: u32,
        unix: u64,
    ) -> Result<Message, MessageError> {
        self.database.post_message(new, keep, unix).await
    }

    /// The last `limit` messages of a room, or the last ones before the message `before`; oldest
    /// first.
    pub async fn messages(
        &self,
        room_id: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        self.database.messages(room_id, before, limit).await
    }

    #[cfg(test)]
    pub(super) fn database(&self) -> &Database {
        &self.database
    }
}
