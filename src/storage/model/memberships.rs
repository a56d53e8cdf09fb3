//! Memberships: joins and leaves.

use super::moderation::RoomRole;

/// The source of the permission to join a private room, besides a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinGrant {
    /// Public rooms, and private ones of which the user is a member.
    None,
    /// A token that lists the room.
    Token,
    /// The token of an admin.
    Admin,
    /// An admin at the command line: also ends the cooldown after a kick.
    Operator,
    /// The text of an invite to the room.
    Invite(String),
}

/// The result of a leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaveOutcome {
    pub was_member: bool,
    /// The user is or was a member.
    pub ever_member: bool,
    /// The user is a member of another room.
    pub elsewhere: bool,
    /// The generation of the user's next membership in the room; 0 without an earlier one.
    pub next_generation: u64,
}

/// A membership of a user.
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
    /// Admins are owners.
    pub role: RoomRole,
}

/// Everything that the relay must reject although a credential may still be valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationList {
    /// Ids of disabled and deleted users.
    pub users: Vec<String>,
    /// Ids of closed rooms.
    pub rooms: Vec<String>,
    /// Ids of the other rooms: they distinguish names bound to a room from longer names.
    pub open_rooms: Vec<String>,
    /// Users who left a room and did not return.
    pub ended_memberships: Vec<EndedMembership>,
    /// Banned users, members or not.
    pub bans: Vec<BannedUser>,
    /// Members who returned: user, room and the generation of the membership. Credentials of earlier generations
    /// are rejected.
    pub later_memberships: Vec<(String, String, u64)>,
    /// The token generations of all users whose tokens were ever ended.
    pub generations: Vec<(String, u64)>,
}

/// A membership that has ended, as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedMembership {
    pub user: String,
    pub room: String,
    /// Whether the user is a member of another room.
    pub elsewhere: bool,
    /// The generation of the user's next membership in the room.
    pub next_generation: u64,
}

/// The ids of a banned user and of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BannedUser {
    pub user: String,
    pub room: String,
    /// Whether the user is a member of another room.
    pub elsewhere: bool,
}
