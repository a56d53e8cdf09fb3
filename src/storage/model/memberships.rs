//! Memberships: joins and leaves.

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
