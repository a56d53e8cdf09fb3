//! The rules of moderation: who may do what to whom. They are the same for HTTP and WebSockets.

use crate::service::auth::RoomAccess;
use crate::storage::{NewRole, Room, User};

/// The position of a user in a room. Later ones act on earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A guest, a member, or a user who is neither.
    Participant {
        is_guest: bool,
    },
    Moderator,
    Owner,
    Admin,
}

impl Standing {
    /// `is_moderator`: the owner has named the user a moderator.
    pub fn of(user: &User, room: &Room, is_moderator: bool) -> Standing {
        if user.admin {
            Standing::Admin
        } else if room.owner_id.as_ref() == Some(&user.id) {
            Standing::Owner
        } else if is_moderator {
            Standing::Moderator
        } else {
            Standing::Participant {
                is_guest: user.guest.is_some(),
            }
        }
    }
}

/// A user who acts in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub user: String,
    pub standing: Standing,
}

impl RoomAccess {
    /// The caller as somebody who acts in the room.
    pub fn actor(&self, room: &Room) -> Actor {
        let user = &self.caller.user;
        Actor {
            user: user.id.clone(),
            standing: Standing::of(user, room, self.moderator),
        }
    }
}

/// An act of moderation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Kick,
    Ban,
    Unban,
    /// Asks a participant's client to mute.
    Mute,
    /// Locks or unlocks the room.
    Lock,
    SetRole(NewRole),
    /// Deletes a message of another user, the target.
    DeleteMessage,
    /// Reads the bans or the audit.
    Read,
}

/// The reason why the rules do not allow an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("only the room's owner, moderators and admins do this")]
    NotAModerator,
    #[error("only the room's owner and admins do this")]
    NotTheOwner,
    #[error("nobody does this to themselves")]
    Yourself,
    #[error("moderators, the owner and admins are protected")]
    Protected,
    #[error("a room keeps its owner: make another user the owner instead")]
    LastOwner,
    #[error("a guest is never an owner or a moderator")]
    Guest,
}

/// Whether `actor` may do this in the room, and to `target`, if there is one: the target's position, and whether it is
/// the actor. An admin at the command line is no actor, and may do everything that the store allows.
pub fn check_act(
    actor: Standing,
    act: Act,
    target: Option<(Standing, bool)>,
) -> Result<(), Refusal> {
    let minimum = match act {
        Act::SetRole(_) => Standing::Owner,
        Act::Kick
        | Act::Ban
        | Act::Unban
        | Act::Mute
        | Act::Lock
        | Act::DeleteMessage
        | Act::Read => Standing::Moderator,
    };
    if actor < minimum {
        return Err(match act {
            Act::SetRole(_) => Refusal::NotTheOwner,
            _ => Refusal::NotAModerator,
        });
    }
    let Some((target, is_actor)) = target else {
        return Ok(());
    };
    if is_actor {
        return Err(Refusal::Yourself);
    }
    match (act, target) {
        (Act::Kick | Act::Mute, _) if target >= actor => Err(Refusal::Protected),
        // The owner decides what stays in the room, also of what admins wrote.
        (Act::DeleteMessage, _) if target >= actor && actor < Standing::Owner => {
            Err(Refusal::Protected)
        }
        // They would return as the owner or as an admin.
        (Act::Ban, _) if target >= actor || target >= Standing::Owner => Err(Refusal::Protected),
        (Act::SetRole(_), Standing::Participant { is_guest: true }) => Err(Refusal::Guest),
        (Act::SetRole(role), Standing::Owner) if role != NewRole::Owner => Err(Refusal::LastOwner),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
