//! Resolves a command-line argument to a person: a user by id or name, a guest by name, or by name
//! and room. If the argument matches several people, the error lists them all.

use crate::clock;
use crate::storage::{ActiveGuest, Person, Room, User, utc};

use super::context::{Context, ID_PREFIX, strip_id_prefix, unique_match};
use super::failure::Failure;

/// Maximum number of people in an error.
const MAX_CANDIDATES: u32 = 10;

impl Context {
    /// Returns the user or guest that the argument names, deleted ones included. A user's id or name
    /// takes precedence over a guest's name, so that a guest cannot break a script. `NAME@ROOM` is a
    /// guest of that room.
    pub async fn find_user(&self, argument: &str) -> Result<User, Failure> {
        if let Some(user) = self.user(argument).await? {
            return Ok(user);
        }
        match self.guest(argument).await? {
            Some(guest) => Ok(guest),
            None => Err(self.no_such_user(argument).await?),
        }
    }

    /// Returns the user that the argument names, or the guest of this room. Of several matches it
    /// selects the only one who is in the room now: a guest who reloads leaves an older entry with the
    /// same name.
    pub async fn find_person_in(&self, room: &Room, argument: &str) -> Result<User, Failure> {
        let mut people: Vec<Person> = self
            .user(argument)
            .await?
            .into_iter()
            .map(Person::from)
            .collect();
        for guest in self.matching_guests(argument, Some(&room.id)).await? {
            if people.iter().all(|known| known.user.id != guest.user.id) {
                people.push(Person::from(guest));
            }
        }
        if people.len() > 1 {
            let members = self
                .store()
                .participants(&room.id, clock::now().unix)
                .await?;
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
            None => self.find_user(argument).await,
        }
    }

    /// Returns the user with this id or name.
    pub(super) async fn user(&self, argument: &str) -> Result<Option<User>, Failure> {
        let called = self.store().find_users(strip_id_prefix(argument)).await?;
        unique_match("user", argument, called, |user| &user.id)
    }

    async fn guest(&self, argument: &str) -> Result<Option<User>, Failure> {
        let mut guests = self.matching_guests(argument, None).await?;
        if let (true, Some((name, room))) = (guests.is_empty(), argument.rsplit_once('@')) {
            let rooms = self.store().find_rooms(strip_id_prefix(room)).await?;
            if let Some(room) = unique_match("room", room, rooms, |room| &room.id)? {
                guests = self.matching_guests(name, Some(&room.id)).await?;
            }
        }
        single_person(argument, guests.into_iter().map(Person::from).collect())
    }

    async fn matching_guests(
        &self,
        name: &str,
        room: Option<&str>,
    ) -> Result<Vec<ActiveGuest>, Failure> {
        if name.starts_with(ID_PREFIX) {
            return Ok(Vec::new());
        }
        let unix = clock::now().unix;
        let limit = MAX_CANDIDATES + 1;
        Ok(self.store().guests(Some(name), room, unix, limit).await?)
    }

    async fn no_such_user(&self, argument: &str) -> Result<Failure, Failure> {
        let wanted = strip_id_prefix(argument);
        let unix = clock::now().unix;
        let name = wanted.rsplit_once('@').map_or(wanted, |(name, _)| name);
        let like = match name.trim().is_empty() {
            true => Vec::new(),
            false => {
                self.store()
                    .search_people(name, unix, MAX_CANDIDATES)
                    .await?
            }
        };
        Ok(Failure::new(match like.is_empty() {
            true => format!(
                "there is no user `{argument}`: `parlor user list` shows all (guests by --guests), \
                 `parlor user add {wanted}` adds one"
            ),
            false => format!(
                "there is no user `{argument}` and no guest of that name; similar: {}",
                describe_people(&like)
            ),
        }))
    }
}

/// Returns the only match.
///
/// # Errors
/// There are several matches; the message lists them.
fn single_person(argument: &str, mut people: Vec<Person>) -> Result<Option<User>, Failure> {
    if people.len() < 2 {
        return Ok(people.pop().map(|person| person.user));
    }
    let more = people.len() > MAX_CANDIDATES as usize;
    people.truncate(MAX_CANDIDATES as usize);
    let and_more = match more {
        true => ", and more",
        false => "",
    };
    Err(Failure::new(format!(
        "`{argument}` may mean several people: {}{and_more}; use the id of the one you mean",
        describe_people(&people)
    )))
}

fn describe_people(people: &[Person]) -> String {
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

/// How a reply names a person. A guest chooses their own name, so several guests may share one.
pub fn user_label(user: &User) -> String {
    match user.guest {
        Some(_) => format!("guest {} (id {})", user.display_name, user.id),
        None => format!("user {}", user.name),
    }
}
