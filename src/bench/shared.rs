//! State shared by the threads of the load generator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::login::Login;
use super::target::Target;

/// State shared by all threads.
pub(super) struct Shared {
    pub target: Target,
    pub login: Login,
    /// Set by a signal; all threads end soon after.
    pub stop: Arc<AtomicBool>,
    /// For the progress line: number of ready clients and of sent packets.
    pub ready: AtomicU64,
    pub sent: AtomicU64,
}

impl Shared {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
