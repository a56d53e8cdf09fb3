//! Threads that read. Their connections are `query_only`, and a WAL reader neither waits for the
//! writer nor keeps it waiting.

use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::clock::{self, Mono};
use crate::metrics::Times;

pub struct Read {
    pub asked: Mono,
    /// With its way to answer inside.
    pub work: Box<dyn FnOnce(&Connection) + Send>,
}

/// Runs until every sender is gone.
pub fn run(connection: Connection, mut reads: mpsc::Receiver<Read>, times: &Times) {
    while let Some(Read { asked, work }) = reads.blocking_recv() {
        let begun = clock::now().mono;
        times.waited(begun.since(asked));
        work(&connection);
        times.worked(clock::now().mono.since(begun));
    }
}
