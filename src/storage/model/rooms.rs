//! Rooms.

use super::memberships::EndedMembership;

/// A room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub id: String,
    pub name: String,
    /// Only members and invited users can enter.
    pub private: bool,
    /// `None`: no limit.
    pub max_participants: Option<u32>,
    pub owner_id: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; a closed room stays closed.
    pub closed_at: Option<u64>,
    /// Newcomers are rejected.
    pub locked: bool,
}

/// A room to create.
#[derive(Debug, Clone, Default)]
pub struct NewRoom {
    /// `None`: a new UUID.
    pub id: Option<String>,
    pub name: String,
    pub private: bool,
    /// 1 to 1,000,000.
    pub max_participants: Option<u32>,
    /// A user's id.
    pub owner_id: Option<String>,
}

/// A change of a room; `None` leaves a value unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomChange {
    pub name: Option<String>,
    pub private: Option<bool>,
    /// `Some(None)` removes the limit. A lower limit ends no membership.
    pub max_participants: Option<Option<u32>>,
}

/// The result of closing a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedRoom {
    pub room: Room,
    /// The memberships that ended with it.
    pub ended_memberships: Vec<EndedMembership>,
}

/// A query for a page of the rooms that are visible to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomQuery {
    /// The user sees public rooms, and private ones of which they are the owner or a member.
    pub user_id: String,
    /// The user also sees all other private rooms.
    pub admin: bool,
    /// The ids of the only visible rooms, private or not; `None`: no restriction.
    pub only: Option<Vec<String>>,
    /// The page has rooms whose names sort after this one.
    pub after: Option<String>,
    pub limit: u32,
}

/// A room, and whether it is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    pub room: Room,
    /// Whether a join would fail with `RoomFull`; never for a participant.
    pub full: bool,
    /// Whether a join would fail with `RoomLocked`.
    pub locked: bool,
}
