//! What one user, and all of them together, may hold: shared by every shard, taken at Allocate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::rate::{Cell, SharedCell};

use super::Refusal;

/// Counts allocations. An entry lives as long as its user holds one, and until the bandwidth that
/// was taken is paid for: to free and to allocate again must not buy a new burst.
#[derive(Debug, Default)]
pub struct Quotas {
    closed: AtomicBool,
    max_total: AtomicUsize,
    max_per_user: AtomicU32,
    total: AtomicUsize,
    users: Mutex<Users>,
}

#[derive(Debug, Default)]
struct Users {
    entries: HashMap<Box<str>, Entry>,
    /// Entries nobody needs are looked for when there are so many.
    crowded: usize,
}

#[derive(Debug)]
struct Entry {
    held: u32,
    bandwidth: Arc<Bandwidth>,
}

/// What a user's allocations have passed together, each way.
#[derive(Debug, Default)]
pub struct Bandwidth {
    pub to_peers: SharedCell,
    pub to_client: SharedCell,
}

/// The right to one allocation; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    quotas: Arc<Quotas>,
    user: Box<str>,
    pub bandwidth: Arc<Bandwidth>,
}

/// Bandwidth that a user has taken and that is not paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    user: Box<str>,
    to_peers: Cell,
    to_client: Cell,
}

/// Which quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    User,
    Total,
    /// None is given any more.
    Closed,
}

impl Quotas {
    pub fn new(max_total: usize, max_per_user: u32) -> Quotas {
        let quotas = Quotas::default();
        quotas.limit(max_total, max_per_user);
        quotas
    }

    /// Changes what may be taken from now on; what is held stays held.
    pub fn limit(&self, max_total: usize, max_per_user: u32) {
        self.max_total.store(max_total, Ordering::Relaxed);
        self.max_per_user.store(max_per_user, Ordering::Relaxed);
    }

    /// Gives none any more; what is held stays held.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Allocations in all.
    pub fn held(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Takes one allocation for `user`.
    pub fn take(self: &Arc<Self>, user: &str, now: Mono) -> Result<Permit, Exhausted> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Exhausted::Closed);
        }
        let mut users = self.users();
        // The user's own first: with no more here, there is nothing to look for elsewhere.
        let held = users.entries.get(user).map_or(0, |entry| entry.held);
        if held >= self.max_per_user.load(Ordering::Relaxed) {
            return Err(Exhausted::User);
        }
        if self.held() >= self.max_total.load(Ordering::Relaxed) {
            return Err(Exhausted::Total);
        }
        users.forget_the_idle(now);
        Ok(self.hold(&mut users, user))
    }

    /// Takes one for an allocation that `user` has had since before this process: whatever the
    /// limits are now, what is held stays held.
    pub(super) fn take_over(self: &Arc<Self>, user: &str) -> Permit {
        self.hold(&mut self.users(), user)
    }

    fn hold(self: &Arc<Self>, users: &mut Users, user: &str) -> Permit {
        let entry = users.entry(user);
        entry.held += 1;
        self.total.fetch_add(1, Ordering::Relaxed);
        Permit {
            quotas: self.clone(),
            user: user.into(),
            bandwidth: entry.bandwidth.clone(),
        }
    }

    /// What is owed at `now`, for [`Quotas::owe`] of another process.
    pub fn debts(&self, now: Mono) -> Vec<Debt> {
        let users = self.users();
        let owing = users
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_paid(now));
        let debts = owing.map(|(user, entry)| Debt {
            user: user.clone(),
            to_peers: entry.bandwidth.to_peers.debt(),
            to_client: entry.bandwidth.to_client.debt(),
        });
        debts.collect()
    }

    /// Takes over what users owe.
    pub fn owe(&self, debts: &[Debt]) {
        let mut users = self.users();
        for debt in debts {
            let bandwidth = &users.entry(&debt.user).bandwidth;
            bandwidth.to_peers.owe(debt.to_peers);
            bandwidth.to_client.owe(debt.to_client);
        }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Users {
    fn forget_the_idle(&mut self, now: Mono) {
        if self.entries.len() < self.crowded {
            return;
        }
        self.entries
            .retain(|_, entry| entry.held > 0 || !entry.is_paid(now));
        self.crowded = 2 * self.entries.len() + 64;
    }

    fn entry(&mut self, user: &str) -> &mut Entry {
        self.entries.entry(user.into()).or_insert_with(|| Entry {
            held: 0,
            bandwidth: Arc::default(),
        })
    }
}

impl Entry {
    fn is_paid(&self, now: Mono) -> bool {
        let Bandwidth {
            to_peers,
            to_client,
        } = &*self.bandwidth;
        to_peers.is_paid(now) && to_client.is_paid(now)
    }
}

impl Permit {
    /// Whose allocation it counts.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut users = self.quotas.users();
        self.quotas.total.fetch_sub(1, Ordering::Relaxed);
        if let Some(entry) = users.entries.get_mut(&self.user) {
            entry.held -= 1;
        }
    }
}

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Refusal {
        match exhausted {
            Exhausted::User => Refusal::UserQuota,
            Exhausted::Total => Refusal::TotalQuota,
            Exhausted::Closed => Refusal::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Limit;

    const NOW: Mono = Mono(1_000_000_000);

    #[test]
    fn a_dropped_permit_can_be_taken_again() {
        let quotas = Arc::new(Quotas::new(3, 2));
        let take = |user| quotas.take(user, NOW);
        let first = take("alice").unwrap();
        let _second = take("alice").unwrap();
        assert_eq!(take("alice").unwrap_err(), Exhausted::User);
        let _bob = take("bob").unwrap();
        assert_eq!(take("bob").unwrap_err(), Exhausted::Total);
        drop(first);
        assert_eq!(quotas.held(), 2);
        assert!(take("alice").is_ok());
    }

    #[test]
    fn to_allocate_again_buys_no_new_burst() {
        let quotas = Arc::new(Quotas::new(3, 2));
        let limit = Limit::per_second(1000, 1000);
        let first = quotas.take("alice", NOW).unwrap();
        assert!(first.bandwidth.to_peers.take(limit, NOW, 1000));
        drop(first);
        let again = quotas.take("alice", NOW).unwrap();
        assert!(!again.bandwidth.to_peers.take(limit, NOW, 1000));
    }

    #[test]
    fn users_who_hold_nothing_and_owe_nothing_are_forgotten() {
        let quotas = Arc::new(Quotas::new(10, 2));
        for number in 0..10_000 {
            quotas.take(&format!("user-{number}"), NOW).unwrap();
        }
        assert!(quotas.users().entries.len() <= 64);
    }
}
