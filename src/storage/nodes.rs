//! The part of the store that only one of several nodes uses.

use super::error::StoreError;
use super::postgres::RedisId;
use super::store::{Backend, Store};

impl Store {
    /// Polls for changes of other processes now, instead of within half a second.
    pub fn poll_changes(&self) {
        if let Backend::Postgres(database) = &self.backend {
            database.poll_changes();
        }
    }

    /// Reports to other nodes, within about a second, which Redis this one reaches, if any.
    pub fn set_reached_redis(&self, reached: Option<RedisId>) {
        if let Backend::Postgres(database) = &self.backend {
            database.set_reached_redis(reached);
        }
    }

    /// Whether any node has reported that it reaches Redis.
    pub async fn is_redis_reached(&self) -> Result<bool, StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(false),
            Backend::Postgres(database) => database.is_redis_reached().await,
        }
    }

    /// The Redis that nodes on this database reach, including this one, by their reports.
    pub async fn reached_redis(&self) -> Result<Vec<RedisId>, StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(Vec::new()),
            Backend::Postgres(database) => database.reached_redis().await,
        }
    }
}
