//! The order of changes: the hub, the relay and subscribers see events in the order of the commits.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Users are spread over this many locks.
const USER_LOCKS: usize = 64;

/// Locks that are held from before a commit until its event has been applied.
pub struct ChangeOrder {
    /// Shared by changes of one user or room; exclusive for changes of many.
    all: RwLock<()>,
    users: [Mutex<()>; USER_LOCKS],
    hasher: RandomState,
}

impl Default for ChangeOrder {
    fn default() -> ChangeOrder {
        ChangeOrder {
            all: RwLock::new(()),
            users: std::array::from_fn(|_| Mutex::new(())),
            hasher: RandomState::new(),
        }
    }
}

impl ChangeOrder {
    /// Excludes exclusive changes, but not changes of other rooms or users.
    pub(super) async fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.all.read().await
    }

    /// Excludes exclusive changes and other changes of this user.
    pub(super) async fn of_user(
        &self,
        user: &str,
    ) -> (RwLockReadGuard<'_, ()>, MutexGuard<'_, ()>) {
        let index = self.hasher.hash_one(user) as usize % USER_LOCKS;
        (self.shared().await, self.users[index].lock().await)
    }

    /// Excludes every other change.
    pub(super) async fn exclusive(&self) -> RwLockWriteGuard<'_, ()> {
        self.all.write().await
    }
}
