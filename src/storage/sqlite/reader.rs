//! The threads that read. Their connections are `query_only`, and in WAL mode readers and the writer
//! do not wait for each other.

use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::clock::{self, Mono};
use crate::metrics::Timings;

/// A read in the queue of a thread.
pub(super) struct Read {
    pub queued_at: Mono,
    /// Runs the read and sends its result.
    pub work: Box<dyn FnOnce(&Connection) + Send>,
}

/// Runs reads until every sender is dropped.
pub(super) fn run(connection: Connection, mut reads: mpsc::Receiver<Read>, times: &Timings) {
    while let Some(Read { queued_at, work }) = reads.blocking_recv() {
        let started_at = clock::now().mono;
        times.observe_wait(started_at.since(queued_at));
        work(&connection);
        times.observe_work(clock::now().mono.since(started_at));
    }
}
