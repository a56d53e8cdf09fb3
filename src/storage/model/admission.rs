//! The data for the decision whether a connection is admitted to a room.

use super::bans::Removal;
use super::rooms::Room;
use super::users::User;

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
