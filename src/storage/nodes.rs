//! The part of the store that only one of several nodes uses.

use super::error::StoreError;
use super::store::{Backend, Store};

impl Store {
    /// Polls for changes of other processes now, instead of within half a second.
    pub fn poll_changes(&self) {
        if let Backend::Postgres(database) = &self.backend {
            database.poll_changes();
        }
    }

    /// Reports to other nodes, within about a second, whether this one reaches Redis.
    pub fn set_reaches_redis(&self, reaches: bool) {
        if let Backend::Postgres(database) = &self.backend {
            database.set_reaches_redis(reaches);
        }
    }

    /// Whether any node has reported that it reaches Redis.
    pub async fn is_redis_reached(&self) -> Result<bool, StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(false),
            Backend::Postgres(database) => database.is_redis_reached().await,
        }
    }
}
