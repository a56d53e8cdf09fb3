//! Writes of this process whose effect is unknown.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{self, Mono};

/// Since when the effect of a write of this process is unknown: the server may still commit it. A later write
/// in doubt starts the time anew.
#[derive(Clone, Default)]
pub(super) struct Doubt(Arc<Mutex<Option<Mono>>>);

impl Doubt {
    pub(super) fn since(&self) -> Option<Mono> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now().mono);
    }

    /// Ends the doubt that began at this time, but no later one.
    pub(super) fn end(&self, since: Mono) {
        let mut doubt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *doubt == Some(since) {
            *doubt = None;
        }
    }

    /// A guard for one call.
    pub(super) fn guard(&self, can_doubt: bool) -> DoubtGuard<'_> {
        DoubtGuard {
            doubt: self,
            can_doubt,
            is_sent: false,
            is_kept: false,
        }
    }
}

/// Begins a doubt when it is dropped, if the effect of an attempt is unknown by then.
pub(super) struct DoubtGuard<'a> {
    doubt: &'a Doubt,
    can_doubt: bool,
    /// Whether an attempt may have reached the server, and is not settled.
    is_sent: bool,
    is_kept: bool,
}

impl DoubtGuard<'_> {
    /// An attempt begins to be sent.
    pub(super) fn send(&mut self) {
        self.is_sent = true;
    }

    /// The effect of the attempt is known. An earlier unknown one stays unknown.
    pub(super) fn settle(&mut self) {
        self.is_sent = false;
    }

    /// The effect of the attempt stays unknown.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for DoubtGuard<'_> {
    fn drop(&mut self) {
        if self.can_doubt && (self.is_sent || self.is_kept) {
            self.doubt.begin();
        }
    }
}
