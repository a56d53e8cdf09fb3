//! The threads behind a [`super::database::Database`]: one writes, a few read, and one reminds the writer to
//! check for changes of other processes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::store_error;
use super::writer::{Command, Write, Writer};
use super::{connection, reader, writer};
use crate::clock;
use crate::metrics::StorageTimings;
use crate::storage::StoreError;

const READER_THREADS: usize = 2;
/// Capacity of the queue of one thread. A caller waits while the queue is full.
const QUEUE_CAPACITY: usize = 1024;
/// Interval of the checks whether another process has written.
const CHANGE_POLL_INTERVAL: Duration = Duration::from_millis(400);
/// Timeout of a caller for the disk. A write that has started by then may still complete.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Threads {
    path: PathBuf,
    /// Dropped first at the end: its thread ends, and with it a sender of the writer.
    stop_polling: Option<blocking::Sender<()>>,
    writer: Option<mpsc::Sender<Command>>,
    readers: Vec<mpsc::Sender<reader::Read>>,
    next_reader: AtomicUsize,
    changes: watch::Receiver<u64>,
    times: StorageTimings,
    /// The poller, the readers, the writer.
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn start(path: &Path) -> Result<Threads, StoreError> {
        let writing = Writer::new(connection::writer(path)?, path.to_owned());
        let reading = (0..READER_THREADS)
            .map(|_| connection::reader(path))
            .collect::<Result<Vec<_>, _>>()?;
        let (changed, changes) = watch::channel(0);
        let (writer, commands) = mpsc::channel(QUEUE_CAPACITY);
        let (stop_polling, stopped) = blocking::channel();
        let times = StorageTimings::default();
        let mut threads = Threads {
            path: path.to_owned(),
            stop_polling: Some(stop_polling),
            writer: Some(writer.clone()),
            readers: Vec::new(),
            next_reader: AtomicUsize::new(0),
            changes,
            times: times.clone(),
            handles: Vec::new(),
        };
        threads.spawn("store-poll", move || poll_for_changes(&writer, &stopped))?;
        for connection in reading {
            let (sender, reads) = mpsc::channel(QUEUE_CAPACITY);
            threads.readers.push(sender);
            threads.spawn("store-read", {
                let times = times.reads.clone();
                move || reader::run(connection, reads, &times)
            })?;
        }
        threads.spawn("store-write", move || {
            writer::run(writing, commands, changed, &times.writes);
        })?;
        Ok(threads)
    }

    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), StoreError> {
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
        let handle = spawned.map_err(|error| StoreError::Failed {
            path: self.path.clone(),
            reason: format!("its thread cannot be started: {error}"),
        })?;
        self.handles.push(handle);
        Ok(())
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    pub(super) fn times(&self) -> &StorageTimings {
        &self.times
    }

    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.with_timeout(self.write_without_timeout(work)).await
    }

    /// Runs a write without a timeout.
    pub(super) async fn write_without_timeout<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let closed = || E::from(StoreError::Closed(self.path.clone()));
        let (write, result) = Write::new(work);
        let writer = self.writer.as_ref().ok_or_else(closed)?;
        let command = Command::Write(Box::new(write), clock::now().mono);
        writer.send(command).await.map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }

    /// Writes the journal into the database file and empties it.
    pub(super) async fn empty_journal(&self) -> Result<(), StoreError> {
        let closed = || StoreError::Closed(self.path.clone());
        let (reply, result) = oneshot::channel();
        let writer = self.writer.as_ref().ok_or_else(closed)?;
        let command = Command::EmptyJournal(reply);
        writer.send(command).await.map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }

    /// Waits for a result, with a timeout.
    async fn with_timeout<T, E: From<StoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
        answer.unwrap_or_else(|_| {
            Err(E::from(StoreError::TimedOut {
                path: self.path.clone(),
                timeout: ANSWER_TIMEOUT,
            }))
        })
    }

    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let closed = || StoreError::Closed(self.path.clone());
        let (reply, result) = oneshot::channel();
        let read = reader::Read {
            queued_at: clock::now().mono,
            work: Box::new(move |connection| {
                // The caller may have stopped waiting.
                let _ = reply.send(work(connection));
            }),
        };
        let index = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        self.with_timeout(async {
            self.readers[index].send(read).await.map_err(|_| closed())?;
            let answer = result.await.map_err(|_| closed())?;
            answer.map_err(|error| store_error(&self.path, &error))
        })
        .await
    }
}

impl Drop for Threads {
    /// Finishes the queued reads and writes, then closes the file.
    fn drop(&mut self) {
        self.stop_polling = None;
        self.readers.clear();
        // The last connection to close writes the journal back into the file. If two close at the same
        // time, neither does: the writer waits for the readers.
        let last = self.handles.pop();
        for handle in self.handles.drain(..) {
            // A thread that panicked has printed its message already.
            let _ = handle.join();
        }
        self.writer = None;
        let _ = last.map(JoinHandle::join);
    }
}

/// Reminds the writer to check for other processes' writes, until the sender of `stopped` is dropped.
fn poll_for_changes(writer: &mpsc::Sender<Command>, stopped: &blocking::Receiver<()>) {
    while stopped.recv_timeout(CHANGE_POLL_INTERVAL) == Err(blocking::RecvTimeoutError::Timeout) {
        // On a full queue the writer is busy; the next reminder comes soon.
        let _ = writer.try_send(Command::CheckForChanges);
    }
}
