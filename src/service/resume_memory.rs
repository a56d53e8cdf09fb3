//! The memory of all frames that are kept for clients who may resume.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A queue that can forget its frames.
pub(super) trait Holder: Send + Sync {
    /// Forgets all kept frames.
    fn forget(&self);
}

/// Counts the kept bytes of all sessions. If they are too many, the session that has kept frames for the longest time
/// loses them.
#[derive(Default)]
pub(super) struct ResumeMemory {
    limit: AtomicUsize,
    used: AtomicUsize,
    holders: Mutex<Holders>,
}

#[derive(Default)]
struct Holders {
    next: u64,
    /// By the time at which each began to keep frames.
    by_age: BTreeMap<u64, Weak<dyn Holder>>,
}

/// The share of one session. Dropping it releases the share.
pub(super) struct Share {
    memory: Arc<ResumeMemory>,
    holder: Weak<dyn Holder>,
    bytes: usize,
    /// The position among the holders, while there are bytes.
    position: Option<u64>,
}

impl ResumeMemory {
    pub(super) fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Kept bytes.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Makes the oldest holders forget their frames until the limit is kept. The caller holds no lock of a queue.
    pub(super) fn reclaim(&self) {
        while self.used() > self.limit.load(Ordering::Relaxed) {
            let oldest = self.holders().by_age.pop_first();
            let Some((_, holder)) = oldest else { return };
            if let Some(holder) = holder.upgrade() {
                holder.forget();
            }
        }
    }
}

impl ResumeMemory {
    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    pub(super) fn new(memory: &Arc<ResumeMemory>, holder: Weak<dyn Holder>) -> Share {
        Share {
            memory: memory.clone(),
            holder,
            bytes: 0,
            position: None,
        }
    }

    /// Sets the number of kept bytes. Returns the memory if its limit is exceeded: call
    /// [`ResumeMemory::reclaim`] when no queue is locked.
    pub(super) fn set(&mut self, bytes: usize) -> Option<Arc<ResumeMemory>> {
        let used = &self.memory.used;
        used.fetch_add(bytes, Ordering::Relaxed);
        used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
        if (bytes > 0) != self.position.is_some() {
            let mut holders = self.memory.holders();
            match self.position.take() {
                Some(position) => {
                    holders.by_age.remove(&position);
                }
                None => {
                    let position = holders.next;
                    holders.next += 1;
                    holders.by_age.insert(position, self.holder.clone());
                    self.position = Some(position);
                }
            }
        }
        let is_over = self.memory.used() > self.memory.limit.load(Ordering::Relaxed);
        is_over.then(|| self.memory.clone())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
