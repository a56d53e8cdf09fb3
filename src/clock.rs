//! Where time is read, and the only place.
//!
//! The state machines take a [`Now`] as an argument, so a test can live through a day in a
//! millisecond. `clippy.toml` bans `Instant::now` and `SystemTime::now` everywhere else.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// On a clock that never goes back: what deadlines and rates are measured on.
    pub mono: Mono,
    /// Seconds since the Unix epoch: what credentials and tokens expire by.
    pub unix: u64,
}

/// Nanoseconds on the monotonic clock, since an arbitrary start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// The time from `earlier` to `self`; zero where `earlier` is the later one.
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
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    Now {
        mono: Mono(start.elapsed().as_nanos() as u64),
        unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    }
}
