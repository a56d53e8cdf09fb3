//! Watches the connection to Redis, and compares it with those of the other nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::app::App;
use super::health_log::may_log;
use super::namesake::Namesake;
use super::redis_comparison::{Comparison, compare};
use super::redis_health::RedisState;
use crate::clock;

/// Interval of the checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// After this long without Redis, the reports of the other nodes count. Until then they may be outdated, and the
/// connection may return.
const CERTAIN_AFTER: Duration = Duration::from_secs(3);

/// Watches the connection, and reports to the other nodes, until `shutdown`. Ends at once without other nodes.
pub(super) async fn follow(app: Arc<App>, shutdown: CancellationToken) {
    let Some(link) = app.hub.link() else {
        return;
    };
    let mut comparison = Comparison::default();
    let mut namesake = Namesake::default();
    loop {
        let now = clock::now().mono;
        app.redis_health.record(link.is_available(), now);
        let reached = link.run_id().map(|run_id| app.redis_health.id(&run_id));
        app.store.set_reached_redis(reached);
        match reached {
            Some(_) => namesake.check(&link.id(), &link.nodes().borrow(), link.lease(), now),
            None => namesake.forget(),
        }
        if let Some(own) = reached
            && comparison.is_due(now)
            && let Some(outcome) = compare(&app, own).await
        {
            comparison.record(outcome, now);
        }
        let pause = tokio::time::sleep(CHECK_INTERVAL);
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

impl App {
    /// Since when this node does not reach Redis, in Unix seconds.
    pub fn redis_lost_since(&self) -> Option<u64> {
        let lost_since = self.redis_health.lost_since()?;
        let now = clock::now();
        Some(now.unix - now.mono.since(lost_since).as_secs())
    }
}

/// Returns the state; `None` without other nodes.
pub(super) async fn check(app: &App) -> Option<RedisState> {
    let link = app.hub.link()?;
    if link.is_available() {
        return Some(RedisState::Reached);
    }
    let lost_since = app.redis_health.lost_since();
    let now = clock::now().mono;
    let is_certain = lost_since.is_some_and(|since| now.since(since) >= CERTAIN_AFTER);
    let is_reached = is_certain && matches!(app.store.is_redis_reached().await, Ok(true));
    let state = if is_reached {
        RedisState::LostHere
    } else {
        RedisState::Away
    };
    if is_reached && may_log(&app.health_log.redis) {
        tracing::error!("not ready: this node does not reach Redis, and others do");
    }
    Some(state)
}
