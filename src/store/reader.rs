//! Threads that read. Their connections are `query_only`, and a WAL reader neither waits for the
//! writer nor keeps it waiting.

use rusqlite::Connection;
use tokio::sync::mpsc;

/// A read, with its way to answer inside.
pub type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Runs until every sender is gone.
pub fn run(connection: Connection, mut reads: mpsc::Receiver<Read>) {
    while let Some(read) = reads.blocking_recv() {
        read(&connection);
    }
}
