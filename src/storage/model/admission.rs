//! The data for the decision whether a connection is admitted to a room.

use super::bans::Removal;
use super::rooms::Room;
use super::users::User;

/// The result of a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub room: Room,
    /// The number of earlier memberships of the user in the room.
    pub generation: u64,
}

/// All data that decides whether a connection is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Also a disabled or deleted user.
    pub user: Option<User>,
    /// A closed room as well.
    pub room: Option<Room>,
    /// The user is a member.
    pub participant: bool,
    /// The user is or was a member.
    pub ever_member: bool,
    /// The owner has named the user a moderator.
    pub moderator: bool,
    /// The number of memberships of the user in the room that have ended.
    pub generation: u64,
    /// The user was kicked or banned, and the room still rejects them.
    pub removal: Option<Removal>,
}
