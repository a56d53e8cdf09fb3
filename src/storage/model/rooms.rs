//! Rooms.

use super::memberships::EndedMembership;

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

/// A room, and whether it is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    pub room: Room,
    /// Whether a join would fail with `RoomFull`; never for a participant.
    pub full: bool,
}
