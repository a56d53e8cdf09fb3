//! What the tables hold, as values.

use std::time::Duration;

use crate::token::Issue;

/// Somebody who may be let in, or, disabled or deleted, may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: String,
    /// What the CLI calls them by. A guest's is their id.
    pub name: String,
    /// What people see.
    pub display_name: String,
    pub admin: bool,
    pub disabled: bool,
    /// A tombstone: the row stays so that the id stays refused.
    pub deleted: bool,
    /// Where a guest belongs and until when; `None` for everybody else.
    pub guest: Option<Guest>,
    /// The condition for valid tokens.
    pub token_cutoff: TokenCutoff,
    /// Unix seconds.
    pub created_at: u64,
}

/// What is particular to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    pub room_id: String,
    /// Unix seconds; at this second their time has run out.
    pub until: u64,
    /// The id of the invite that the guest used, if known.
    pub invite: Option<String>,
}

/// The condition for valid tokens of a user: tokens from before a sign-out, a new password or a disabling
/// are rejected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCutoff {
    /// The generation that parlor's own tokens must carry; it grows whenever tokens are ended.
    pub generation: u64,
    /// Unix seconds: tokens of other issuers must be issued later. `None`: no such limit.
    pub from: Option<u64>,
}

impl TokenCutoff {
    /// Whether a token with this issue data is still valid. A token without an issue time may be older
    /// than the limit, and so may one of the same second.
    pub fn accepts(&self, issue: Issue) -> bool {
        match issue {
            Issue::Own { generation } => generation == self.generation,
            Issue::Foreign { at } => self.from.is_none_or(|from| at.is_some_and(|at| at > from)),
        }
    }
}

impl User {
    /// What frontends call them by: `guest`, `admin` or `user`.
    pub fn role(&self) -> &'static str {
        match self {
            User { guest: Some(_), .. } => "guest",
            User { admin: true, .. } => "admin",
            _ => "user",
        }
    }

    /// Whether the store knows of no reason to turn this user away at `unix`.
    pub fn is_active(&self, unix: u64) -> bool {
        !self.disabled
            && !self.deleted
            && self.guest.as_ref().is_none_or(|guest| unix < guest.until)
    }

    /// `unix`, or the end of a guest's time where that comes first: nothing that they are given
    /// outlives it.
    pub fn limit_expiry(&self, unix: u64) -> u64 {
        self.guest
            .as_ref()
            .map_or(unix, |guest| unix.min(guest.until))
    }
}

/// A guest whose access has not expired, for an admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveGuest {
    pub user: User,
    pub room_name: String,
    /// The user is a member of the room now.
    pub participant: bool,
}

/// A user, with the name of the room if they are a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub user: User,
    pub guest_room: Option<String>,
}

impl From<User> for Person {
    /// The id of a guest's room.
    fn from(user: User) -> Person {
        let guest_room = user.guest.as_ref().map(|guest| guest.room_id.clone());
        Person { user, guest_room }
    }
}

impl From<ActiveGuest> for Person {
    fn from(guest: ActiveGuest) -> Person {
        Person {
            user: guest.user,
            guest_room: Some(guest.room_name),
        }
    }
}

/// A user to be made.
#[derive(Debug, Clone, Default)]
pub struct NewUser {
    pub name: String,
    /// Unset: the name.
    pub display_name: Option<String>,
    pub admin: bool,
    /// PHC text.
    pub password_hash: Option<String>,
}

/// A place to talk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub id: String,
    pub name: String,
    /// Entered by members and invited people only.
    pub private: bool,
    /// `None`: no limit.
    pub max_participants: Option<u32>,
    pub owner_id: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; a closed room stays closed.
    pub closed_at: Option<u64>,
}

/// A room to be made.
#[derive(Debug, Clone, Default)]
pub struct NewRoom {
    /// Unset: a UUID.
    pub id: Option<String>,
    pub name: String,
    pub private: bool,
    /// 1 to 1,000,000.
    pub max_participants: Option<u32>,
    /// A user's id.
    pub owner_id: Option<String>,
}

/// What to change about a room; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomChange {
    pub name: Option<String>,
    pub private: Option<bool>,
    /// `Some(None)` lifts the limit. Members stay, however few there may be.
    pub max_participants: Option<Option<u32>>,
}

/// What became of closing a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedRoom {
    pub room: Room,
    /// The memberships that ended with it.
    pub ended_memberships: Vec<EndedMembership>,
}

/// Which rooms somebody gets to see, a page at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomQuery {
    /// Sees open rooms, and private ones that are theirs or that they are a member of.
    pub user_id: String,
    /// Sees the other private rooms, too.
    pub admin: bool,
    /// The ids of the only rooms to see, private or not; `None`: no such limit.
    pub only: Option<Vec<String>>,
    /// Rooms whose names come after this one.
    pub after: Option<String>,
    pub limit: u32,
}

/// A message to be written. The ids are those of a room and of a participant of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub room_id: String,
    pub user_id: String,
    pub content: String,
}

/// What somebody wrote in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Grows with each message.
    pub id: i64,
    pub room_id: String,
    pub user_id: String,
    pub display_name: String,
    pub content: String,
    /// Unix seconds.
    pub created_at: u64,
}

/// What, beside a membership, opens a private room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinGrant {
    /// Nothing: open rooms, and private ones one is a member of.
    None,
    /// A token that lists the room, or an admin's token.
    Granted,
    /// An admin at the command line: also ends the pause after a kick.
    Operator,
    /// The text of an invite to the room.
    Invite(String),
}

/// What became of a leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaveOutcome {
    pub was_member: bool,
    /// Was a member then or at any time before.
    pub ever_member: bool,
    /// Still a member of another room.
    pub elsewhere: bool,
}

/// Somebody who was disabled or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedUser {
    /// A deleted user as they were before.
    pub user: User,
    /// Invites that they had made, and that open nothing any more.
    pub invites: usize,
}

/// A room that somebody is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub room_id: String,
    pub room_name: String,
    /// Unix seconds.
    pub joined_at: u64,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    pub user_id: String,
    pub display_name: String,
    /// Unix seconds.
    pub joined_at: u64,
    pub guest: bool,
}

/// All that decides whether a connection is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Disabled users and tombstones included.
    pub user: Option<User>,
    /// ClosedRoom rooms included.
    pub room: Option<Room>,
    /// Has joined and not left.
    pub participant: bool,
    /// The user is or was a member.
    pub ever_member: bool,
    /// The user was kicked or banned, and the room still rejects them.
    pub removal: Option<Removal>,
}

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
    pub reason: Option<String>,
    /// Whether the invite that the guest used stays valid.
    pub keep_invite: bool,
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
}

/// An invite to be made.
#[derive(Debug, Clone)]
pub struct NewInvite {
    /// A room's id.
    pub room_id: String,
    /// The id of the user who invites, if it is one.
    pub created_by: Option<String>,
    /// From now.
    pub ttl: Duration,
    /// `None`: as often as asked.
    pub uses: Option<u32>,
}

/// An invite just made. Its text exists only here: the store keeps a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    pub id: String,
    pub text: crate::secret::Secret,
    /// Unix seconds.
    pub expires_at: u64,
}

/// An invite that still opens its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveInvite {
    pub id: String,
    pub room_id: String,
    pub room_name: String,
    /// The id of the user who invites, if it is one.
    pub created_by: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub expires_at: u64,
    /// `None`: as often as asked.
    pub uses_left: Option<u32>,
}

/// Who the relay must turn away although their credential may still be good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationList {
    /// Ids of the disabled and the deleted.
    pub users: Vec<String>,
    /// Ids of closed rooms.
    pub rooms: Vec<String>,
    /// Ids of the other rooms: they distinguish names bound to a room from longer names.
    pub open_rooms: Vec<String>,
    /// Users who left a room and did not return, and banned users.
    pub ended_memberships: Vec<EndedMembership>,
    /// The token generations of all users whose tokens were ever ended.
    pub generations: Vec<(String, u64)>,
}

/// A membership that has ended. All are ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedMembership {
    pub user: String,
    pub room: String,
    /// Whether the user is a member of another room.
    pub elsewhere: bool,
}
