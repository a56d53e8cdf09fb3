//! Health: whether the store, the relay and Redis work, and how much is in use.

use std::time::Duration;

use super::app::App;
use super::health_log::may_log;
use super::redis_health::RedisState;
use super::redis_watch;
use crate::storage::StoreError;

/// The time for an answer of the store; a health check must not wait long.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The outcome of one check; the error says what is wrong.
pub type Check = Result<(), &'static str>;

/// The conditions for accepting traffic.
pub struct HealthChecks {
    pub store: Check,
    pub relay: Check,
    /// `None` without other nodes.
    pub redis: Option<RedisState>,
}

impl HealthChecks {
    /// The checks with their names, and their outcomes in words.
    pub fn named(&self) -> Vec<(&'static str, &'static str)> {
        let word = |check: Check| check.err().unwrap_or("ok");
        let mut named = vec![("store", word(self.store)), ("relay", word(self.relay))];
        named.extend(self.redis.map(|state| ("redis", state.text())));
        named
    }

    /// The part without which the server does less, and that no other node has.
    pub fn degraded(&self) -> Option<&'static str> {
        (self.redis == Some(RedisState::Away)).then_some("redis")
    }
}

impl App {
    /// Checks the store, the relay and Redis, and logs failures once a minute.
    pub async fn check_health(&self) -> HealthChecks {
        let redis = redis_watch::check(self);
        let (store, relay, redis) = tokio::join!(check_store(self), check_relay(self), redis);
        HealthChecks {
            store,
            relay,
            redis,
        }
    }

    /// The reasons why the server is not ready for traffic, one sentence each.
    pub async fn not_ready(&self) -> Vec<&'static str> {
        self.check_health().await.reasons(self)
    }

    /// Whether every shard of the relay and the store answer. A full disk
    /// does not count, because a restart would not change it.
    pub async fn is_responsive(&self) -> bool {
        // A restart of this server mends no other one.
        if self.store.is_remote() {
            return self.relay.is_alive().await;
        }
        let store = tokio::time::timeout(STORE_TIMEOUT, self.store.check_writable());
        let (store, relay) = tokio::join!(store, self.relay.is_alive());
        let stuck = |error: &StoreError| {
            use StoreError::{Closed, Locked, TimedOut};
            matches!(error, Locked(_) | TimedOut { .. } | Closed(_))
        };
        let store = store.is_ok_and(|outcome| !outcome.as_ref().is_err_and(stuck));
        store && relay
    }

    /// The numbers of rooms with connections, and of connections.
    pub fn usage(&self) -> (i64, i64) {
        let metrics = &self.hub.metrics;
        (metrics.rooms.get(), metrics.connections.get())
    }

    /// The numbers of open rooms, and of memberships in them. `None` if the store fails or does not
    /// answer in time; that is logged.
    pub async fn room_counts(&self) -> Option<(i64, i64)> {
        match tokio::time::timeout(STORE_TIMEOUT, self.store.room_counts()).await {
            Ok(Ok(counted)) => return Some(counted),
            Ok(Err(error)) => tracing::error!(%error, "counting rooms and participants failed"),
            Err(_) => tracing::error!("counting rooms and participants timed out"),
        }
        None
    }
}

impl HealthChecks {
    /// The reasons why `app` is not ready for traffic.
    pub fn reasons(&self, app: &App) -> Vec<&'static str> {
        let lost = self.redis.filter(|state| *state == RedisState::LostHere);
        let failed = [
            self.store.err(),
            self.relay.err(),
            lost.map(RedisState::text),
        ];
        let failed = failed.into_iter().flatten();
        let draining = app.is_draining().then_some("draining");
        failed.chain(draining).collect()
    }
}

async fn check_store(app: &App) -> Check {
    let limit = &app.health_log.store;
    match tokio::time::timeout(STORE_TIMEOUT, app.store.check_writable()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            if may_log(limit) {
                match error {
                    StoreError::ServerInUse { .. } => {
                        tracing::error!(%error, "not ready: another parlor uses the database");
                    }
                    _ => tracing::error!(%error, "not ready: the database accepts no writes"),
                }
            }
            Err(match error {
                StoreError::Replaced(_) => "the database file was removed or replaced",
                StoreError::ServerUnreachable { .. } => "the PostgreSQL server cannot be reached",
                StoreError::ServerReadOnly(_) => "the PostgreSQL server is read-only",
                StoreError::ServerInUse { .. } => "another parlor uses the database",
                StoreError::ServerRefused { .. } => "the PostgreSQL server cannot be used",
                StoreError::ServerFull(_) => "the disk of the PostgreSQL server is full",
                StoreError::ServerTimedOut { .. } | StoreError::ServerBusy { .. } => {
                    "the PostgreSQL server is overloaded, or does not answer in time"
                }
                _ => "the database accepts no writes",
            })
        }
        Err(_) => {
            if may_log(limit) {
                tracing::error!("not ready: the database does not answer in time");
            }
            Err("the database does not answer in time")
        }
    }
}

/// Checks that every shard of the relay answers. The daemon serves nothing before the relay is bound.
async fn check_relay(app: &App) -> Check {
    if app.relay.is_alive().await {
        return Ok(());
    }
    if may_log(&app.health_log.relay) {
        tracing::error!("not ready: the relay does not answer in time");
    }
    Err("the relay does not answer in time")
}
