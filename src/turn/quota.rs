//! What one user, and all of them together, may hold: shared by every shard, taken at Allocate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::clock::Mono;
use crate::rate::{Limit, SharedCell};

use super::Refusal;

/// Counts allocations. An entry lives as long as its user holds one.
#[derive(Debug)]
pub struct Quotas {
    max_total: usize,
    max_per_user: u32,
    bandwidth: Limit,
    total: AtomicUsize,
    users: Mutex<HashMap<Box<str>, Entry>>,
}

#[derive(Debug)]
struct Entry {
    held: u32,
    bandwidth: Arc<Bandwidth>,
}

/// What a user's allocations may pass together, each way.
#[derive(Debug)]
pub struct Bandwidth {
    limit: Limit,
    to_peers: SharedCell,
    to_client: SharedCell,
}

/// The right to one allocation; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    quotas: Arc<Quotas>,
    user: Box<str>,
    pub bandwidth: Arc<Bandwidth>,
}

/// Which quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    User,
    Total,
}

impl Quotas {
    /// `bandwidth` is in bytes, each way, for all allocations of one user.
    pub fn new(max_total: usize, max_per_user: u32, bandwidth: Limit) -> Quotas {
        Quotas {
            max_total,
            max_per_user,
            bandwidth,
            total: AtomicUsize::new(0),
            users: Mutex::default(),
        }
    }

    /// Allocations in all.
    pub fn held(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Takes one allocation for `user`.
    pub fn take(self: &Arc<Self>, user: &str) -> Result<Permit, Exhausted> {
        let mut users = self.users();
        if self.held() >= self.max_total {
            return Err(Exhausted::Total);
        }
        if users.get(user).map_or(0, |entry| entry.held) >= self.max_per_user {
            return Err(Exhausted::User);
        }
        let entry = users.entry(user.into()).or_insert_with(|| Entry {
            held: 0,
            bandwidth: Arc::new(Bandwidth {
                limit: self.bandwidth,
                to_peers: SharedCell::default(),
                to_client: SharedCell::default(),
            }),
        });
        entry.held += 1;
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(Permit {
            quotas: self.clone(),
            user: user.into(),
            bandwidth: entry.bandwidth.clone(),
        })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        self.users.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Bandwidth {
    pub fn to_peers(&self, now: Mono, bytes: u64) -> bool {
        self.to_peers.take(self.limit, now, bytes)
    }

    pub fn to_client(&self, now: Mono, bytes: u64) -> bool {
        self.to_client.take(self.limit, now, bytes)
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
        if let Some(entry) = users.get_mut(&self.user) {
            entry.held -= 1;
            if entry.held == 0 {
                users.remove(&self.user);
            }
        }
    }
}

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Refusal {
        match exhausted {
            Exhausted::User => Refusal::UserQuota,
            Exhausted::Total => Refusal::TotalQuota,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_can_be_taken_again() {
        let quotas = Arc::new(Quotas::new(3, 2, Limit::UNLIMITED));
        let first = quotas.take("alice").unwrap();
        let _second = quotas.take("alice").unwrap();
        assert_eq!(quotas.take("alice").unwrap_err(), Exhausted::User);
        let _bob = quotas.take("bob").unwrap();
        assert_eq!(quotas.take("bob").unwrap_err(), Exhausted::Total);
        drop(first);
        assert_eq!(quotas.held(), 2);
        assert!(quotas.take("alice").is_ok());
        assert_eq!(quotas.users().len(), 2);
    }
}
