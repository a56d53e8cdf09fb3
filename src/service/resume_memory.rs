//! The memory of all frames that are kept for clients who may resume.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The part of the memory that the sessions of one user may use, unless it is less than the limit of one session.
const USER_DIVISOR: usize = 8;

/// A queue that can forget its frames.
pub(super) trait Holder: Send + Sync {
    /// Forgets all kept frames.
    fn forget(&self);
}

/// Counts the kept bytes of all sessions, and those of each user. If they are too many, the session that has kept
/// frames for the longest time loses them: of this user, or of all.
#[derive(Default)]
pub(super) struct ResumeMemory {
    limit: AtomicUsize,
    user_limit: AtomicUsize,
    used: AtomicUsize,
    holders: Mutex<Holders>,
}

/// Holders by the time at which each began to keep frames.
type ByAge = BTreeMap<u64, Weak<dyn Holder>>;

#[derive(Default)]
struct Holders {
    next: u64,
    by_age: ByAge,
    users: HashMap<Arc<str>, UserHolders>,
}

/// The sessions of one user.
#[derive(Default)]
struct UserHolders {
    sessions: usize,
    used: Arc<AtomicUsize>,
    /// In order of position. Most users have one session: an empty vector has no memory, unlike a map that was used.
    by_age: Vec<(u64, Weak<dyn Holder>)>,
}

/// The share of one session. Dropping it releases the share.
pub(super) struct Share {
    memory: Arc<ResumeMemory>,
    user: Arc<str>,
    used_by_user: Arc<AtomicUsize>,
    holder: Weak<dyn Holder>,
    bytes: usize,
    /// The position among the holders, while there are bytes.
    position: Option<u64>,
}

/// An exceeded limit.
#[must_use]
pub(super) struct Excess {
    memory: Arc<ResumeMemory>,
    user: Arc<str>,
    used_by_user: Arc<AtomicUsize>,
}

impl ResumeMemory {
    /// `bytes` is the limit of all sessions, and `session_bytes` that of one.
    pub(super) fn set_limit(&self, bytes: usize, session_bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        let user_limit = (bytes / USER_DIVISOR).max(session_bytes);
        self.user_limit.store(user_limit, Ordering::Relaxed);
    }

    /// Kept bytes.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn is_exceeded(&self) -> bool {
        self.used() > self.limit.load(Ordering::Relaxed)
    }

    fn is_exceeded_by(&self, used_by_user: &AtomicUsize) -> bool {
        used_by_user.load(Ordering::Relaxed) > self.user_limit.load(Ordering::Relaxed)
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Excess {
    /// Makes the oldest holders forget their frames until the limits are kept: first those of the user. The caller
    /// holds no lock of a queue.
    pub(super) fn reclaim(self) {
        let memory = &self.memory;
        while memory.is_exceeded_by(&self.used_by_user) {
            let oldest = memory.holders().take_oldest_of(&self.user);
            if !forget(oldest) {
                break;
            }
        }
        while memory.is_exceeded() {
            let oldest = memory.holders().by_age.pop_first();
            if !forget(oldest.map(|(_, holder)| holder)) {
                break;
            }
        }
    }
}

/// Makes a holder forget its frames. Returns false if there is none.
fn forget(holder: Option<Weak<dyn Holder>>) -> bool {
    if let Some(holder) = holder.as_ref().and_then(Weak::upgrade) {
        holder.forget();
    }
    holder.is_some()
}

impl Holders {
    fn take_oldest_of(&mut self, user: &str) -> Option<Weak<dyn Holder>> {
        let (position, holder) = self.users.get(user)?.by_age.first()?.clone();
        self.remove(user, position);
        Some(holder)
    }

    fn add(&mut self, user: &str, holder: &Weak<dyn Holder>) -> u64 {
        let position = self.next;
        self.next += 1;
        self.by_age.insert(position, holder.clone());
        if let Some(of_user) = self.users.get_mut(user) {
            if of_user.by_age.is_empty() {
                of_user.by_age.reserve_exact(1);
            }
            of_user.by_age.push((position, holder.clone()));
        }
        position
    }

    fn remove(&mut self, user: &str, position: u64) {
        self.by_age.remove(&position);
        let Some(of_user) = self.users.get_mut(user) else {
            return;
        };
        let by_age = &mut of_user.by_age;
        if let Ok(index) = by_age.binary_search_by_key(&position, |(position, _)| *position) {
            by_age.remove(index);
        }
        if by_age.is_empty() {
            *by_age = Vec::new();
        }
    }
}

impl Share {
    /// The share of a session of `user`.
    pub(super) fn new(memory: &Arc<ResumeMemory>, user: &str, holder: Weak<dyn Holder>) -> Share {
        let user: Arc<str> = user.into();
        let mut holders = memory.holders();
        let of_user = holders.users.entry(user.clone()).or_default();
        of_user.sessions += 1;
        Share {
            memory: memory.clone(),
            used_by_user: of_user.used.clone(),
            user,
            holder,
            bytes: 0,
            position: None,
        }
    }

    /// Sets the number of kept bytes. Returns a limit that is exceeded: call [`Excess::reclaim`] when no queue is
    /// locked.
    pub(super) fn set(&mut self, bytes: usize) -> Option<Excess> {
        if bytes == self.bytes {
            return None;
        }
        for used in [&self.memory.used, &*self.used_by_user] {
            used.fetch_add(bytes, Ordering::Relaxed);
            used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        if (bytes > 0) != self.position.is_some() {
            let mut holders = self.memory.holders();
            self.position = match self.position {
                Some(position) => {
                    holders.remove(&self.user, position);
                    None
                }
                None => Some(holders.add(&self.user, &self.holder)),
            };
        }
        if !self.memory.is_exceeded() && !self.memory.is_exceeded_by(&self.used_by_user) {
            return None;
        }
        Some(Excess {
            memory: self.memory.clone(),
            user: self.user.clone(),
            used_by_user: self.used_by_user.clone(),
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Less than before.
        let _ = self.set(0);
        let mut holders = self.memory.holders();
        if let Some(of_user) = holders.users.get_mut(&self.user) {
            of_user.sessions -= 1;
            if of_user.sessions == 0 {
                holders.users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session of one user, which keeps some bytes.
    struct Kept(Mutex<Option<Share>>);

    impl Kept {
        fn of(memory: &Arc<ResumeMemory>, user: &str, bytes: usize) -> Arc<Kept> {
            let kept = Arc::new_cyclic(|this: &Weak<Kept>| {
                Kept(Mutex::new(Some(Share::new(memory, user, this.clone()))))
            });
            kept.set(bytes);
            kept
        }

        fn set(&self, bytes: usize) {
            let mut share = self.0.lock().unwrap();
            let excess = share.as_mut().unwrap().set(bytes);
            drop(share);
            if let Some(excess) = excess {
                excess.reclaim();
            }
        }

        fn bytes(&self) -> usize {
            self.0.lock().unwrap().as_ref().unwrap().bytes
        }
    }

    impl Holder for Kept {
        fn forget(&self) {
            let _ = self.0.lock().unwrap().as_mut().unwrap().set(0);
        }
    }

    fn bytes(sessions: &[Arc<Kept>]) -> Vec<usize> {
        sessions.iter().map(|kept| kept.bytes()).collect()
    }

    #[test]
    fn a_user_with_many_sessions_loses_the_oldest_ones_and_nobody_else_does() {
        let memory = Arc::new(ResumeMemory::default());
        memory.set_limit(800, 60);
        let alice = Kept::of(&memory, "alice", 60);
        let bobs: Vec<_> = (0..40).map(|_| Kept::of(&memory, "bob", 40)).collect();
        assert_eq!(alice.bytes(), 60);
        let (forgotten, kept) = bobs.split_at(38);
        assert_eq!(bytes(forgotten), [0; 38]);
        assert_eq!(bytes(kept), [40, 40]);
        // A session that keeps frames again is the youngest one.
        forgotten[0].set(30);
        assert_eq!(bytes(kept), [0, 40]);
        assert_eq!(memory.used(), 60 + 30 + 40);
    }

    #[test]
    fn one_session_of_a_user_may_keep_all_that_a_session_may() {
        let memory = Arc::new(ResumeMemory::default());
        memory.set_limit(800, 300);
        let alice = Kept::of(&memory, "alice", 300);
        assert_eq!(alice.bytes(), 300);
    }

    #[test]
    fn the_oldest_sessions_of_all_users_give_way_above_the_limit() {
        let memory = Arc::new(ResumeMemory::default());
        memory.set_limit(800, 60);
        let users: Vec<_> = (0..9).map(|user| user.to_string()).collect();
        let sessions: Vec<_> = users
            .iter()
            .map(|user| Kept::of(&memory, user, 100))
            .collect();
        assert_eq!(bytes(&sessions[..1]), [0]);
        assert_eq!(bytes(&sessions[1..]), [100; 8]);
    }

    #[test]
    fn ended_sessions_leave_nothing() {
        let memory = Arc::new(ResumeMemory::default());
        memory.set_limit(800, 60);
        let sessions = ["alice", "alice", "bob"].map(|user| Kept::of(&memory, user, 10));
        assert_eq!(memory.holders().users.len(), 2);
        drop(sessions);
        let holders = memory.holders();
        assert!(holders.users.is_empty() && holders.by_age.is_empty());
        assert_eq!(memory.used(), 0);
    }
}
