//! Users whose roles have changed, until the rooms know.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Users whose roles changed, by room.
#[derive(Default)]
pub(super) struct RoleChanges {
    changed: Mutex<Vec<(String, Vec<String>)>>,
    added: Notify,
}

impl RoleChanges {
    pub(super) fn add(&self, room: &str, users: &[String]) {
        self.changed().push((room.to_owned(), users.to_vec()));
        self.added.notify_one();
    }

    /// Waits for changes.
    pub(super) async fn take(&self) -> Vec<(String, Vec<String>)> {
        self.added.notified().await;
        std::mem::take(&mut *self.changed())
    }

    fn changed(&self) -> MutexGuard<'_, Vec<(String, Vec<String>)>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
