//! Users whose roles may have changed, until the rooms know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Users whose roles are to be read, by room, each once.
type Changed = BTreeMap<String, BTreeSet<String>>;

/// Users whose roles may have changed.
#[derive(Default)]
pub(super) struct RoleChanges {
    changed: Mutex<Changed>,
    added: Notify,
}

impl RoleChanges {
    pub(super) fn add(&self, room: &str, users: &[String]) {
        let mut changed = self.changed();
        let of_room = changed.entry(room.to_owned()).or_default();
        of_room.extend(users.iter().cloned());
        self.added.notify_one();
    }

    /// Waits for changes.
    pub(super) async fn take(&self) -> Changed {
        self.added.notified().await;
        std::mem::take(&mut *self.changed())
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
