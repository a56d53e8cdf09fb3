//! Resolves a command-line argument to a room, and the rules that users and rooms share: an argument
//! is an id or a name, and with the prefix `id:` always an id.

use crate::storage::Room;

use super::context::Context;
use super::failure::Failure;

/// Marks an argument as an id.
pub(super) const ID_PREFIX: &str = "id:";

/// Returns the argument without [`ID_PREFIX`].
pub(super) fn strip_id_prefix(argument: &str) -> &str {
    argument.strip_prefix(ID_PREFIX).unwrap_or(argument)
}

/// Returns the only match; `None` if there is none.
///
/// # Errors
/// The argument is the id of one and the name of another: the user may mean either.
pub(super) fn unique_match<T>(
    kind: &str,
    argument: &str,
    mut matches: Vec<T>,
    id: impl Fn(&T) -> &str,
) -> Result<Option<T>, Failure> {
    if let Some(wanted) = argument.strip_prefix(ID_PREFIX) {
        matches.retain(|one| id(one) == wanted);
    }
    if let [one, other] = &matches[..] {
        return Err(Failure::new(format!(
            "`{argument}` is the id of one {kind} and the name of another: \
             use the id of the one you mean, `{ID_PREFIX}{}` or `{ID_PREFIX}{}`",
            id(one),
            id(other)
        )));
    }
    Ok(matches.pop())
}

/// Returns the open room that the argument names.
pub(super) async fn open_room(context: &Context, argument: &str) -> Result<Room, Failure> {
    let room = any_room(context, argument).await?;
    match room.closed_at {
        Some(_) => Err(Failure::new(format!("the room `{argument}` is closed"))),
        None => Ok(room),
    }
}

/// Returns the room that the argument names, closed rooms included.
pub(super) async fn any_room(context: &Context, argument: &str) -> Result<Room, Failure> {
    let matches = context
        .store()
        .find_rooms(strip_id_prefix(argument))
        .await?;
    let room = unique_match("room", argument, matches, |room| &room.id)?;
    room.ok_or_else(|| {
        Failure::new(format!(
            "there is no room `{argument}`: `parlor room list` lists rooms, \
             `parlor room create` creates one"
        ))
    })
}
