//! Decides which rooms a caller may see. Permission is checked before existence: a room that a caller
//! may not see gives the same response as one that does not exist.

use super::errors::{banned, kicked, no_such_room, not_for_this_room, room_closed};
use crate::clock;
use crate::http::Error;
use crate::service::{Caller, RoomAccess};
use crate::storage::{Removal, Room};

/// Rejects rooms outside of the token's list, and other rooms than a guest's own, whether the room
/// exists or not.
pub(super) fn require_scope(caller: &Caller, room: &str) -> Result<(), Error> {
    let guest_elsewhere = caller
        .user
        .guest
        .as_ref()
        .is_some_and(|guest| guest.room_id != room);
    if guest_elsewhere || !caller.claims.allows_room(room) {
        Err(not_for_this_room())
    } else {
        Ok(())
    }
}

/// Returns the room with this id if the caller may see it. The room may be closed.
///
/// # Errors
/// 403 for rooms outside of the token's list, and for banned users; else 404.
pub(super) fn visible_room(access: &RoomAccess, id: &str) -> Result<Room, Error> {
    require_scope(&access.caller, id)?;
    let room = access.room.as_ref().ok_or_else(no_such_room)?;
    if let Some(Removal::Banned { until }) = access.removal {
        return Err(banned(until));
    }
    if may_enter(access, room) {
        Ok(room.clone())
    } else {
        Err(no_such_room())
    }
}

/// [`visible_room`], with 410 if the room is closed.
pub(super) fn open_room(access: &RoomAccess, id: &str) -> Result<Room, Error> {
    let room = visible_room(access, id)?;
    match room.closed_at {
        Some(_) => Err(room_closed()),
        None => Ok(room),
    }
}

/// Rejects a moderator who was kicked, until the cooldown is over: the role outlives the membership.
pub(super) fn require_not_kicked(access: &RoomAccess) -> Result<(), Error> {
    match access.removal {
        Some(Removal::Kicked { until }) => Err(kicked(until.saturating_sub(clock::now().unix))),
        Some(Removal::Banned { .. }) | None => Ok(()),
    }
}

/// Whether the caller may enter the room without an invite. Former members may see that their room
/// was closed.
fn may_enter(access: &RoomAccess, room: &Room) -> bool {
    let Caller { claims, user, .. } = &access.caller;
    !room.private
        || access.participant
        || user.admin
        || claims.lists_room(&room.id)
        || room.owner_id.as_ref() == Some(&user.id)
        || access.moderator
        || (room.closed_at.is_some() && access.ever_member)
}

/// The owner and admins manage a room. The caller may see the room.
pub(super) fn require_owner(caller: &Caller, room: &Room) -> Result<(), Error> {
    if caller.manages(room) {
        Ok(())
    } else {
        Err(Error::forbidden(
            "Only the room's owner and admins may do this",
        ))
    }
}
