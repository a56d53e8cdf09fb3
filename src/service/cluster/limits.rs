//! Rate limits that all nodes share.

use std::time::Duration;

use tokio::time::timeout;

use crate::bus::redis::Script;
use crate::service::App;

/// A client does not wait longer for Redis.
const LIMIT_TIMEOUT: Duration = Duration::from_secs(1);

impl App {
    /// Counts an attempt to log in with a name on all nodes: one per interval after the burst. False if there were too
    /// many. True without other nodes, and while Redis does not answer: the limits of each node remain.
    pub async fn try_take_name(&self, name: &str, interval: Duration, burst: u64) -> bool {
        let Some(link) = self.hub.link() else {
            return true;
        };
        let slot = self.settings().tokens.name_slot(name);
        let args = [
            format!("login:{slot:05x}"),
            interval.as_micros().to_string(),
            burst.to_string(),
        ];
        let wait = timeout(LIMIT_TIMEOUT, link.ask(Script::Limit, args.into())).await;
        wait.ok().flatten().is_none_or(|wait| wait == "0")
    }
}
