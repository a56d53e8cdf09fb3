//! Whether all nodes on a database use the same keys of the same Redis server. Otherwise their users do not meet.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::app::App;
use crate::clock::Mono;
use crate::storage::RedisId;

/// Interval of the comparisons.
const INTERVAL: Duration = Duration::from_secs(10);
/// Nodes that differ for this long are logged. Until then they may follow a failover, or the session of a dead host may
/// still be there.
const CERTAIN_AFTER: Duration = Duration::from_secs(45);
/// Pause between two attempts of a start.
const START_PAUSE: Duration = Duration::from_millis(50);

/// The difference of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OtherRedis {
    /// Another database of a Redis server, or another prefix.
    Keys,
    /// Another server, with the same keys.
    Server,
}

/// Reports which Redis this node reaches, and whether the other nodes use the same keys there. Nodes that start
/// together see each other: each reports before it checks. Nodes that are ending are waited for until the timeout. A
/// failure of the store passes the check, and so does another server: a node that hangs may still report the former
/// one.
pub async fn have_same_keys(app: &App, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    let mut is_waiting = false;
    loop {
        let run_id = app.hub.link().and_then(|link| link.run_id());
        let Some(own) = run_id.map(|run_id| app.redis_health.id(&run_id)) else {
            return true;
        };
        app.store.set_reached_redis(Some(own));
        let Ok(reached) = app.store.reached_redis().await else {
            return true;
        };
        let is_same = difference(own, &reached) != Err(OtherRedis::Keys);
        if is_same && reached.contains(&own) {
            return true;
        }
        if Instant::now() >= deadline {
            return is_same;
        }
        if !is_same && !is_waiting {
            tracing::info!("waiting for nodes that use another Redis");
            is_waiting = true;
        }
        sleep(START_PAUSE).await;
    }
}

/// Compares this node's Redis with those of the other nodes. `None` if the store fails.
pub(super) async fn compare(app: &App, own: RedisId) -> Option<Result<(), OtherRedis>> {
    let reached = app.store.reached_redis().await.ok()?;
    Some(difference(own, &reached))
}

fn difference(own: RedisId, reached: &[RedisId]) -> Result<(), OtherRedis> {
    if reached.iter().any(|other| other.keys != own.keys) {
        return Err(OtherRedis::Keys);
    }
    if reached.iter().any(|other| other.server != own.server) {
        return Err(OtherRedis::Server);
    }
    Ok(())
}

/// The comparisons of a running node.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    next: Mono,
    /// Since when nodes differ.
    since: Option<Mono>,
    is_logged: bool,
}

impl Comparison {
    pub(super) fn is_due(&self, now: Mono) -> bool {
        now >= self.next
    }

    /// Logs a lasting difference once.
    pub(super) fn record(&mut self, outcome: Result<(), OtherRedis>, now: Mono) {
        if self.is_certain(outcome, now) {
            tracing::error!(
                "other nodes on this PostgreSQL database use another Redis: users do not meet"
            );
        }
    }

    /// Records an outcome. Whether it is to be logged.
    fn is_certain(&mut self, outcome: Result<(), OtherRedis>, now: Mono) -> bool {
        self.next = now + INTERVAL;
        if outcome.is_ok() {
            *self = Comparison {
                next: self.next,
                ..Comparison::default()
            };
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_first = !self.is_logged && now.since(since) >= CERTAIN_AFTER;
        self.is_logged |= is_first;
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_prefix_matters_more_than_another_server() {
        let own = RedisId { keys: 1, server: 1 };
        let (keys, server) = (RedisId { keys: 2, ..own }, RedisId { server: 2, ..own });
        assert_eq!(difference(own, &[own]), Ok(()));
        assert_eq!(difference(own, &[own, server]), Err(OtherRedis::Server));
        assert_eq!(difference(own, &[server, keys]), Err(OtherRedis::Keys));
    }

    #[test]
    fn a_lasting_difference_is_logged_once() {
        let mut comparison = Comparison::default();
        let start = Mono::default();
        let other = Err(OtherRedis::Server);
        assert!(!comparison.is_certain(other, start));
        assert!(!comparison.is_due(start));
        assert!(!comparison.is_certain(Ok(()), start + INTERVAL));
        let again = start + CERTAIN_AFTER;
        assert!(comparison.is_due(again));
        assert!(!comparison.is_certain(other, again));
        assert!(comparison.is_certain(other, again + CERTAIN_AFTER));
        assert!(!comparison.is_certain(other, again + CERTAIN_AFTER * 2));
    }
}
