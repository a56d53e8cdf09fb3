//! The threads behind a [`super::Store`]: how they start, how orders reach them, how they end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::writer::{Command, Write, Writer};
use super::{StoreError, connection, reader, writer};
use crate::clock;
use crate::metrics::StorageTimings;

const READER_THREADS: usize = 2;
/// Orders that may wait for one thread; whoever asks beyond that waits to ask.
const QUEUE_CAPACITY: usize = 1024;
/// How often to look whether another process has written.
const CHANGE_POLL_INTERVAL: Duration = Duration::from_millis(400);
/// How long a caller waits for the disk. A write that has started by then may still complete.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Threads {
    path: PathBuf,
    /// Emptied first when all is to end.
    stop_polling: Option<blocking::Sender<()>>,
    writer: Option<mpsc::Sender<Command>>,
    readers: Vec<mpsc::Sender<reader::Read>>,
    next_reader: AtomicUsize,
    changes: watch::Receiver<u64>,
    times: StorageTimings,
    /// In the order in which they end: who looks, who reads, who writes. The last connection to
    /// close writes the journal back into the file.
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    pub fn start(path: &Path) -> Result<Threads, StoreError> {
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
            running: Vec::new(),
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
            writer::run(writing, commands, changed, &times.writes)
        })?;
        Ok(threads)
    }

    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), StoreError> {
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
        let running = spawned.map_err(|error| StoreError::Failed {
            path: self.path.clone(),
            why: format!("no thread can be started for it: {error}"),
        })?;
        self.running.push(running);
        Ok(())
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    pub fn times(&self) -> &StorageTimings {
        &self.times
    }

    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.with_timeout(self.write_without_timeout(work)).await
    }

    /// Writes without a timeout.
    pub async fn write_without_timeout<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let closed = || E::from(StoreError::Closed(self.path.clone()));
        let (write, answer) = Write::new(work);
        let writer = self.writer.as_ref().ok_or_else(closed)?;
        let command = Command::Write(Box::new(write), clock::now().mono);
        writer.send(command).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Waits for a result, with a timeout.
    async fn with_timeout<T, E: From<StoreError>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        answer.unwrap_or_else(|_| {
            Err(E::from(StoreError::TimedOut {
                path: self.path.clone(),
                timeout: ANSWER_TIMEOUT,
            }))
        })
    }

    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let closed = || StoreError::Closed(self.path.clone());
        let (reply, answer) = oneshot::channel();
        let read = reader::Read {
            asked: clock::now().mono,
            work: Box::new(move |connection| {
                // Whoever asked may be gone.
                let _ = reply.send(work(connection));
            }),
        };
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        self.with_timeout(async {
            self.readers[turn].send(read).await.map_err(|_| closed())?;
            let answer = answer.await.map_err(|_| closed())?;
            answer.map_err(|error| StoreError::new(&self.path, &error))
        })
        .await
    }
}

impl Drop for Threads {
    /// Lets what was asked finish, then closes the file.
    fn drop(&mut self) {
        self.stop_polling = None;
        self.readers.clear();
        self.writer = None;
        for running in self.running.drain(..) {
            // A thread that panicked has said so itself.
            let _ = running.join();
        }
    }
}

/// Reminds the writer to look for other processes' writes, until the other end of `stopped` goes.
fn poll_for_changes(writer: &mpsc::Sender<Command>, stopped: &blocking::Receiver<()>) {
    while stopped.recv_timeout(CHANGE_POLL_INTERVAL) == Err(blocking::RecvTimeoutError::Timeout) {
        // A full queue: the writer is busy, and is reminded again soon.
        let _ = writer.try_send(Command::CheckForChanges);
    }
}
