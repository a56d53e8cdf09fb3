//! The names of connected users, for the commands that list or end sessions.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::credential::anonymous_address;
use crate::storage::{Person, Store, StoreError};

use super::context::ServerContext;

/// Timeout for the names of all connected users.
const NAMES_TIMEOUT: Duration = Duration::from_secs(10);

/// The names of users and rooms; their ids where the store does not return a name.
#[derive(Default)]
pub(super) struct NameLookup {
    users: HashMap<String, Person>,
    rooms: HashMap<String, String>,
    /// Whether the store returned all names.
    pub complete: bool,
}

impl NameLookup {
    /// Reads the names. A database that does not answer must not prevent the list of connections.
    pub(super) async fn of(
        server: &ServerContext,
        users: BTreeSet<&str>,
        rooms: BTreeSet<&str>,
    ) -> NameLookup {
        let mut names = NameLookup::default();
        let lookup = names.look_up(&server.app.store, users, rooms);
        let result = timeout(NAMES_TIMEOUT, lookup).await;
        names.complete = matches!(result, Ok(Ok(())));
        names
    }

    async fn look_up(
        &mut self,
        store: &Store,
        users: BTreeSet<&str>,
        rooms: BTreeSet<&str>,
    ) -> Result<(), StoreError> {
        let users = users
            .into_iter()
            .filter(|id| anonymous_address(id).is_none());
        let ids = users.map(str::to_owned).collect();
        let people = store.people(ids).await?.into_iter();
        self.users
            .extend(people.map(|person| (person.user.id.clone(), person)));
        for id in rooms {
            let mut called = store.find_rooms(id).await?.into_iter();
            let known = called.find(|room| room.id == id);
            self.rooms.extend(known.map(|room| (room.id, room.name)));
        }
        Ok(())
    }

    /// Returns the display name, as others in the room see it.
    pub(super) fn shown(&self, id: &str) -> String {
        if anonymous_address(id).is_some() {
            return "(no user)".to_owned();
        }
        match self.users.get(id) {
            None => id.to_owned(),
            Some(Person { user, .. }) if user.guest.is_some() => {
                format!("{} (guest)", user.display_name)
            }
            Some(Person { user, .. }) => user.display_name.clone(),
        }
    }

    /// Without a user, `address` is the key for quotas and bandwidth limits.
    pub(super) fn user_json(&self, id: &str) -> Value {
        if let Some(address) = anonymous_address(id) {
            return json!({
                "id": null,
                "name": null,
                "display_name": null,
                "guest": null,
                "address": address,
            });
        }
        let user = self.users.get(id).map(|person| &person.user);
        json!({
            "id": id,
            "name": user.map_or(id, |user| &user.name),
            "display_name": user.map_or(id, |user| &user.display_name),
            "guest": user.map(|user| user.guest.is_some()),
        })
    }

    pub(super) fn room<'a>(&'a self, id: &'a str) -> &'a str {
        self.rooms.get(id).map_or(id, String::as_str)
    }

    pub(super) fn room_json(&self, id: &str) -> Value {
        json!({ "id": id, "name": self.room(id) })
    }
}
