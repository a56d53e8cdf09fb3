//! When the next poll for changes is due.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Interval, sleep};

/// A request waits this long, so that one poll serves all requests of that time.
const LINGER: Duration = Duration::from_millis(10);

/// Requests to poll before the interval ends.
#[derive(Debug, Default)]
pub(super) struct PollRequests {
    wanted: Notify,
    #[cfg(test)]
    is_interval_stopped: std::sync::atomic::AtomicBool,
}

impl PollRequests {
    pub(super) fn request(&self) {
        self.wanted.notify_one();
    }

    /// Waits until a poll is requested, or the interval ends.
    pub(super) async fn next(&self, interval: &mut Interval) {
        loop {
            tokio::select! {
                _ = interval.tick() => if !self.is_interval_stopped() { return },
                () = self.wanted.notified() => return sleep(LINGER).await,
            }
        }
    }

    #[cfg(not(test))]
    fn is_interval_stopped(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn is_interval_stopped(&self) -> bool {
        self.is_interval_stopped
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn stop_interval(&self) {
        self.is_interval_stopped
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
