//! Log limits of the health checks.

use crate::clock;
use crate::rate::{Limit, SharedGcra};

/// Limits the log lines of failed checks: anybody may request a check, as often as they like, and
/// must not fill the disk.
#[derive(Default)]
pub struct HealthLogLimits {
    pub(super) store: SharedGcra,
    pub(super) relay: SharedGcra,
    pub(super) redis: SharedGcra,
}

/// Whether a failure may be logged now: once a minute.
pub(super) fn may_log(limit: &SharedGcra) -> bool {
    limit.take(Limit::per_minute(), clock::now().mono, 1)
}
