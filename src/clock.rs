//! The clocks: the only place that reads the time.
//!
//! The state machines take a [`Now`] as an argument, so a test can run through a day in a
//! millisecond. `clippy.toml` bans `Instant::now` and `SystemTime::now` everywhere else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::ClockId;
use serde::{Deserialize, Serialize};

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// On the monotonic clock: for deadlines and rates.
    pub mono: Mono,
    /// Seconds since the Unix epoch: for the expiry of credentials and tokens.
    pub unix: u64,
}

/// Nanoseconds on the system's monotonic clock, since an arbitrary start: the same for every process
/// from one boot to the next, so that deadlines can be handed over.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Mono(pub u64);

impl Mono {
    /// Returns the time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(span.as_nanos() as u64))
    }
}

/// Reads both clocks.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Now {
    // Every system has this clock; only an invalid argument could fail.
    let mono = ClockId::CLOCK_MONOTONIC.now().map(Duration::from);
    Now {
        mono: Mono(mono.map_or(0, |since| since.as_nanos() as u64)),
        unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    }
}
