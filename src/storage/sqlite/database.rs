//! A handle on the database file, with the two ways to reach it: a write and a read.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::watch;

use super::threads::Threads;
use crate::metrics::StorageTimings;
use crate::storage::StoreError;

/// The database file. Clones share it, and dropping the last one closes the file.
#[derive(Clone)]
pub(crate) struct Database {
    threads: Arc<Threads>,
}

impl Database {
    pub(crate) fn open(path: &Path) -> Result<Database, StoreError> {
        let threads = Arc::new(Threads::start(path)?);
        Ok(Database { threads })
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.threads.changes()
    }

    pub(crate) fn times(&self) -> &StorageTimings {
        self.threads.times()
    }

    pub(crate) async fn check_writable(&self) -> Result<(), StoreError> {
        self.write(|connection| {
            let version: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
            connection.pragma_update(None, "user_version", version)?;
            Ok(Ok(()))
        })
        .await
    }

    /// Writes the journal into the database file and empties it, so that deleted text is in neither. Does nothing
    /// while another process reads from the journal.
    pub(crate) async fn empty_journal(&self) -> Result<(), StoreError> {
        self.threads.empty_journal().await
    }

    /// Runs `work` in its own savepoint; an `Err` of either kind rolls it back.
    ///
    /// # Errors
    /// Besides those of `work`: the disk does not finish in time.
    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.threads.write(work).await
    }

    /// Runs `work` like [`Database::write`], without a timeout: for changes after which connections
    /// and relays must be closed.
    pub(super) async fn write_without_timeout<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.threads.write_without_timeout(work).await
    }

    /// Runs `work` on a connection that can only read.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.threads.read(work).await
    }
}
