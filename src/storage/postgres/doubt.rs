//! Writes of this process whose effect is unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the effect of a write of this process is unknown.
#[derive(Clone, Default)]
pub(super) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    /// Returns whether there is a doubt, and ends it.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    pub(super) fn guard(&self, is_write: bool) -> DoubtGuard<'_> {
        DoubtGuard {
            doubt: self,
            is_kept: false,
            is_settled: !is_write,
        }
    }
}

/// Notes a doubt when it is dropped, unless the effect is known by then.
pub(super) struct DoubtGuard<'a> {
    doubt: &'a Doubt,
    is_kept: bool,
    is_settled: bool,
}

impl DoubtGuard<'_> {
    /// The effect is known now. An earlier unknown one stays unknown.
    pub(super) fn settle(&mut self) {
        self.is_settled = true;
    }

    /// The effect of an attempt is unknown.
    pub(super) fn keep(&mut self) {
        self.is_kept = !self.is_settled;
    }
}

impl Drop for DoubtGuard<'_> {
    fn drop(&mut self) {
        if self.is_kept || !self.is_settled {
            self.doubt.0.store(true, Ordering::Relaxed);
        }
    }
}
