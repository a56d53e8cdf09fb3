//! Which rooms a caller may know of. Permission is judged before existence: a room that a caller
//! may not see answers as one that does not exist.

use super::{banned, no_such_room, not_for_this_room, room_closed};
use crate::http::Error;
use crate::http::auth::{Caller, Visitor};
use crate::store::{Removal, Room};

/// Refuses what a token, or being a guest of another room, rules out, whether there is such a room
/// or not.
pub fn require_scope(caller: &Caller, room: &str) -> Result<(), Error> {
    let guest_elsewhere = caller
        .user
        .guest
        .as_ref()
        .is_some_and(|guest| guest.room_id != room);
    match guest_elsewhere || !caller.claims.allows_room(room) {
        true => Err(not_for_this_room()),
        false => Ok(()),
    }
}

/// The room with this id, where the visitor may see it. It may be closed.
///
/// # Errors
/// 403 for other rooms than those the token is for, and for the banned; else 404.
pub fn visible_room(visitor: &Visitor, id: &str) -> Result<Room, Error> {
    require_scope(&visitor.caller, id)?;
    let room = visitor.room.as_ref().ok_or_else(no_such_room)?;
    if let Some(Removal::Banned { until }) = visitor.removal {
        return Err(banned(until));
    }
    match sees(visitor, room) {
        true => Ok(room.clone()),
        false => Err(no_such_room()),
    }
}

/// [`visible_room`], with 410 where it is closed.
pub fn open_room(visitor: &Visitor, id: &str) -> Result<Room, Error> {
    let room = visible_room(visitor, id)?;
    match room.closed_at {
        Some(_) => Err(room_closed()),
        None => Ok(room),
    }
}

/// Whether the visitor could enter the room without an invite. Former members may still learn that
/// their room was closed.
fn sees(visitor: &Visitor, room: &Room) -> bool {
    let Caller { claims, user } = &visitor.caller;
    !room.private
        || visitor.participant
        || user.admin
        || claims.names_room(&room.id)
        || room.owner_id.as_ref() == Some(&user.id)
        || (room.closed_at.is_some() && visitor.ever_member)
}
