//! The settings of sessions that can change while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::resume_memory::ResumeMemory;
use crate::config::Signaling;

/// The settings of sessions, and the memory of their frames.
#[derive(Default)]
pub(super) struct SessionSettings {
    memory: Arc<ResumeMemory>,
    grace_millis: AtomicU64,
}

impl SessionSettings {
    pub(super) fn new(settings: &Signaling) -> SessionSettings {
        let sessions = SessionSettings::default();
        sessions.reconfigure(settings);
        sessions
    }

    pub(super) fn reconfigure(&self, settings: &Signaling) {
        self.memory
            .set_limit(settings.resume_memory, settings.resume_buffer());
        let grace = settings.resume_grace.as_millis() as u64;
        self.grace_millis.store(grace, Ordering::Relaxed);
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_millis.load(Ordering::Relaxed))
    }

    pub(super) fn memory(&self) -> &Arc<ResumeMemory> {
        &self.memory
    }
}
