//! Resolves a command-line argument to a person: a user by id or name, a guest by name, or by name
//! and room. If the argument matches several people, the error lists them all.

use crate::clock;
use crate::storage::{ActiveGuest, Person, Room, User, utc};

use super::context::Context;
use super::failure::Failure;
use super::room_lookup::{ID_PREFIX, strip_id_prefix, unique_match};

/// Maximum number of people in an error.
const MAX_CANDIDATES: u32 = 10;

/// Returns the user or guest that the argument names, deleted ones included. A user's id or name takes
/// precedence over a guest's name, so that a guest cannot break a script. `NAME@ROOM` is a guest of
/// that room.
pub(super) async fn any_user(context: &Context, argument: &str) -> Result<User, Failure> {
    if let Some(user) = user(context, argument).await? {
        return Ok(user);
    }
    match guest(context, argument).await? {
        Some(guest) => Ok(guest),
        None => Err(no_such_user(context, argument).await?),
    }
}

/// Returns the user or guest that the argument names, disabled ones included.
pub(super) async fn existing_user(context: &Context, argument: &str) -> Result<User, Failure> {
    let user = any_user(context, argument).await?;
    if user.deleted {
        Err(Failure::new(format!("the user `{argument}` was deleted")))
    } else {
        Ok(user)
    }
}

/// Returns the user or guest that the argument names, who must not be disabled or expired.
pub(super) async fn active_user(context: &Context, argument: &str) -> Result<User, Failure> {
    let user = any_user(context, argument).await?;
    let name = &user.name;
    if user.deleted {
        return Err(Failure::new(format!("the user `{name}` was deleted")));
    }
    if user.disabled {
        return Err(Failure::new(format!("the user `{name}` is disabled")));
    }
    if user.is_active(clock::now().unix) {
        Ok(user)
    } else {
        Err(Failure::new(format!(
            "the access of guest `{name}` has expired"
        )))
    }
}

/// As [`active_user`]; with `auth.provision_users`, creates a user that does not exist.
pub(super) async fn provisioned_user(context: &Context, argument: &str) -> Result<User, Failure> {
    if context.config().auth.provision_users && user(context, argument).await?.is_none() {
        let id = strip_id_prefix(argument);
        let created = context.store().provision(id, None).await;
        return created.map_err(Failure::from_create_error);
    }
    active_user(context, argument).await
}

/// Returns the user that the argument names, or the guest of this room. Of several matches it selects
/// the only one who is in the room now: a guest who reloads the page leaves an older entry with the
/// same name.
pub(super) async fn person_in(
    context: &Context,
    room: &Room,
    argument: &str,
) -> Result<User, Failure> {
    let user = user(context, argument).await?;
    let mut people: Vec<Person> = user.into_iter().map(Person::from).collect();
    for guest in matching_guests(context, argument, Some(&room.id)).await? {
        if people.iter().all(|known| known.user.id != guest.user.id) {
            people.push(Person::from(guest));
        }
    }
    if people.len() > 1 {
        let unix = clock::now().unix;
        let members = context.store().participants(&room.id, unix).await?;
        let is_here = |person: &&Person| {
            let mut ids = members.iter().map(|member| &member.user_id);
            ids.any(|id| *id == person.user.id)
        };
        let here: Vec<_> = people.iter().filter(is_here).cloned().collect();
        if here.len() == 1 {
            people = here;
        }
    }
    match single_person(argument, people)? {
        Some(person) => Ok(person),
        None => any_user(context, argument).await,
    }
}

/// Returns how a response names a person. Guests choose their names, so several may share one.
pub(super) fn user_label(user: &User) -> String {
    match user.guest {
        Some(_) => format!("guest {} (id {})", user.display_name, user.id),
        None => format!("user {}", user.name),
    }
}

/// Returns the user with this id or name.
async fn user(context: &Context, argument: &str) -> Result<Option<User>, Failure> {
    let matches = context
        .store()
        .find_users(strip_id_prefix(argument))
        .await?;
    unique_match("user", argument, matches, |user| &user.id)
}

async fn guest(context: &Context, argument: &str) -> Result<Option<User>, Failure> {
    let mut guests = matching_guests(context, argument, None).await?;
    if let (true, Some((name, room))) = (guests.is_empty(), argument.rsplit_once('@')) {
        let rooms = context.store().find_rooms(strip_id_prefix(room)).await?;
        if let Some(room) = unique_match("room", room, rooms, |room| &room.id)? {
            guests = matching_guests(context, name, Some(&room.id)).await?;
        }
    }
    single_person(argument, guests.into_iter().map(Person::from).collect())
}

async fn matching_guests(
    context: &Context,
    name: &str,
    room: Option<&str>,
) -> Result<Vec<ActiveGuest>, Failure> {
    if name.starts_with(ID_PREFIX) {
        return Ok(Vec::new());
    }
    let unix = clock::now().unix;
    let limit = MAX_CANDIDATES + 1;
    let guests = context.store().guests(Some(name), room, unix, limit);
    Ok(guests.await?)
}

async fn no_such_user(context: &Context, argument: &str) -> Result<Failure, Failure> {
    let wanted = strip_id_prefix(argument);
    let unix = clock::now().unix;
    let name = wanted.rsplit_once('@').map_or(wanted, |(name, _)| name);
    let similar = if name.trim().is_empty() {
        Vec::new()
    } else {
        let people = context.store().search_people(name, unix, MAX_CANDIDATES);
        people.await?
    };
    Ok(Failure::new(if similar.is_empty() {
        format!(
            "there is no user `{argument}`: `parlor user list` lists users (guests with \
         --guests), `parlor user add {wanted}` adds one"
        )
    } else {
        format!(
            "there is no user `{argument}` and no guest with that name; similar: {}",
            describe(&similar)
        )
    }))
}

/// Returns the only match.
///
/// # Errors
/// There are several matches; the message lists them.
fn single_person(argument: &str, mut people: Vec<Person>) -> Result<Option<User>, Failure> {
    if people.len() < 2 {
        return Ok(people.pop().map(|person| person.user));
    }
    let and_more = if people.len() > MAX_CANDIDATES as usize {
        ", and more"
    } else {
        ""
    };
    people.truncate(MAX_CANDIDATES as usize);
    Err(Failure::new(format!(
        "`{argument}` matches several people: {}{and_more}; use the id of the one you mean",
        describe(&people)
    )))
}

fn describe(people: &[Person]) -> String {
    let all = people.iter().map(|person| {
        let Person { user, guest_room } = person;
        let since = utc::format(user.created_at);
        match guest_room {
            Some(room) => format!(
                "{} (guest of {room} since {since}, {ID_PREFIX}{})",
                user.display_name, user.id
            ),
            None => format!("{} (user, {ID_PREFIX}{})", user.name, user.id),
        }
    });
    all.collect::<Vec<_>>().join(", ")
}
