//! Threads that read. Their connections are `query_only`, and a WAL reader neither waits for the
//! writer nor keeps it waiting.

use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::clock::{self, Mono};
use crate::metrics::Timings;

pub struct Read {
    pub asked: Mono,
    /// With its way to answer inside.
    pub work: Box<dyn FnOnce(&Connection) + Send>,
}

/// Runs until every sender is gone.
pub fn run(connection: Connection, mut reads: mpsc::Receiver<Read>, times: &Timings) {
    while let Some(Read { asked, work }) = reads.blocking_recv() {
        let begun = clock::now().mono;
        times.observe_wait(begun.since(asked));
        work(&connection);
        times.observe_work(clock::now().mono.since(begun));
    }
}
