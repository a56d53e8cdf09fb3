//! Changes of chats and rooms that `parlor.v1` clients have yet to see.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::bus::Event;

/// The changes of one room.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RoomChanges {
    /// There are new messages.
    pub has_messages: bool,
    /// The ids of deleted messages. Each of them took a write of the store, so they are few.
    pub deleted_messages: Vec<i64>,
    /// The name, the visibility, the capacity or the lock changed.
    pub is_changed: bool,
}

/// The changes of all rooms, by their ids.
#[derive(Default)]
pub(super) struct LiveChanges {
    changes: Mutex<HashMap<String, RoomChanges>>,
    added: Notify,
}

impl LiveChanges {
    /// Adds the change of an event, if it is one of a chat or room.
    pub(super) fn add(&self, event: &Event) {
        match event {
            Event::MessagePosted { room } => self.change(room, |one| one.has_messages = true),
            Event::MessageDeleted { room, id } => {
                self.change(room, |one| one.deleted_messages.push(*id));
            }
            Event::RoomChanged { room } => self.change(room, |one| one.is_changed = true),
            _ => {}
        }
    }

    /// Waits for changes.
    pub(super) async fn take(&self) -> HashMap<String, RoomChanges> {
        self.added.notified().await;
        std::mem::take(&mut *self.changes())
    }

    fn change(&self, room: &str, change: impl FnOnce(&mut RoomChanges)) {
        let mut changes = self.changes();
        match changes.get_mut(room) {
            Some(known) => change(known),
            None => change(changes.entry(room.to_owned()).or_default()),
        }
        drop(changes);
        self.added.notify_one();
    }

    fn changes(&self) -> MutexGuard<'_, HashMap<String, RoomChanges>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
