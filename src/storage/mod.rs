//! What parlor keeps: the data directory and, in it, users, rooms and memberships in SQLite. All
//! SQL of the crate is in here.
//!
//! One thread writes and a few read; async code only waits for their answers, so no disk ever
//! blocks it. A write is acknowledged when it is on the disk. Another process (the CLI) may have
//! the same file open at any time; [`Store::changes`] says when it wrote.

mod bans;
mod connection;
mod error;
mod guests;
mod invites;
mod messages;
mod model;
mod open_files;
mod participants;
mod preview;
mod reader;
mod removal;
mod rooms;
mod schema;
mod threads;
mod users;
pub mod utc;
mod writer;

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::watch;

pub use bans::MAX_REASON_CHARS;
pub use error::{
    BanError, ChangeError, CreateError, InviteError, JoinError, MessageError, StoreError,
};
pub use invites::MAX_INVITES;
pub use messages::MAX_MESSAGE_CHARS;
pub use model::*;
pub use preview::Preview;

use crate::metrics::StorageTimings;
use threads::Threads;

/// A handle on the database; clones share it, and the last one to go closes the file.
#[derive(Clone)]
pub struct Store {
    threads: Arc<Threads>,
}

impl Store {
    /// Opens the file at `path`, makes it where there is none, and brings its schema up to date.
    /// Blocks until that is done: call it before serving.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let threads = Arc::new(Threads::start(path)?);
        Ok(Store { threads })
    }

    /// Bumped when *another* process has written, within about half a second.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.threads.changes()
    }

    /// How long its work takes, for whoever keeps figures.
    pub fn times(&self) -> &StorageTimings {
        self.threads.times()
    }

    /// Whether a write reaches the disk now.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.write(|connection| {
            let version: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
            connection.pragma_update(None, "user_version", version)?;
            Ok(Ok(()))
        })
        .await
    }

    /// Runs `work` in its own savepoint; an `Err` of either kind rolls it back. Fails if the disk does
    /// not finish in time.
    async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.threads.write(work).await
    }

    /// Like [`Store::write`], without a timeout: for changes after which connections and relays must be
    /// closed.
    async fn write_without_timeout<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.threads.write_without_timeout(work).await
    }

    /// Runs `work` on a connection that can only read.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.threads.read(work).await
    }
}

#[cfg(test)]
mod tests;
