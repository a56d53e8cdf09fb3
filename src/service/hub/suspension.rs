//! The wait for the suspension of all members, before one of several nodes restarts.

use std::time::Duration;

use super::Hub;

/// Limit of the wait until the roster of several nodes awaits the users of this one.
const SUSPENSION_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of the checks whether it does.
const SUSPENSION_PAUSE: Duration = Duration::from_millis(5);

impl Hub {
    /// Waits until the roster of several nodes awaits the users of this one, and their connections are closed. Returns
    /// after a second if Redis does not answer.
    pub async fn wait_for_suspensions(&self) {
        if self.link.is_none() {
            return;
        }
        let suspended = async {
            while !self.connections().is_empty() {
                tokio::time::sleep(SUSPENSION_PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(SUSPENSION_TIMEOUT, suspended).await;
    }
}
