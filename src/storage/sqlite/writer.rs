//! The thread that writes. It groups all queued writes into one IMMEDIATE transaction, with a savepoint
//! for each, and reports results only after COMMIT: every acknowledged write is on the disk, without an
//! fsync for each. A write that fails rolls back alone.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::connection::BUSY_TIMEOUT;
use super::error::store_error;
use super::open_files::OpenFiles;
use crate::clock::{self, Mono};
use crate::metrics::Timings;
use crate::storage::StoreError;

/// Maximum number of writes in one transaction: bounds the wait of the first.
const MAX_WRITES_PER_TRANSACTION: usize = 256;
/// How long the other writes wait for a reader of the journal that is to be emptied.
const JOURNAL_TIMEOUT: Duration = Duration::from_millis(100);

/// A command to the thread.
pub(super) enum Command {
    /// Run a write; the time is when it was queued.
    Write(Box<dyn Work>, Mono),
    /// Check whether another process has written, and notify the watch; check whether the files are still
    /// in place.
    CheckForChanges,
    /// Write the journal (WAL) into the database file and empty it, unless another process reads from it.
    EmptyJournal(oneshot::Sender<Result<(), StoreError>>),
}

/// A queued write. It runs first, and reports its result when the transaction is on the disk or has failed.
pub(super) trait Work: Send {
    /// Whether the caller stopped waiting for the result. A write that has not started by then is skipped:
    /// the caller has received an error, or was dropped.
    fn is_abandoned(&self) -> bool;
    /// Runs inside a savepoint, which is kept only if this returns true.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<bool>;
    /// Sends the result to the caller. `error` is the error of the transaction, or of this write.
    fn report(self: Box<Self>, error: Option<StoreError>);
}

/// A closure and the sender of its result.
pub(super) struct Write<T, E, F> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Write<T, E, F>
where
    F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    pub(super) fn new(work: F) -> (Write<T, E, F>, oneshot::Receiver<Result<T, E>>) {
        let (reply, result) = oneshot::channel();
        let write = Write {
            work: Some(work),
            outcome: None,
            reply,
        };
        (write, result)
    }
}

impl<T, E, F> Work for Write<T, E, F>
where
    F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let Some(work) = self.work.take() else {
            return Ok(false);
        };
        let outcome = work(connection)?;
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        Ok(keep)
    }

    fn report(self: Box<Self>, error: Option<StoreError>) {
        let result = match (error, self.outcome) {
            (Some(error), _) => Err(E::from(error)),
            (None, Some(outcome)) => outcome,
            // Dropping the sender reports to the caller that the store is closed.
            (None, None) => return,
        };
        // The caller may have stopped waiting; the write stays.
        let _ = self.reply.send(result);
    }
}

/// Runs commands until every sender is dropped.
pub(super) fn run(
    mut writer: Writer,
    mut commands: mpsc::Receiver<Command>,
    changes: watch::Sender<u64>,
    times: &Timings,
) {
    let mut group: Vec<Box<dyn Work>> = Vec::new();
    while let Some(first) = commands.blocking_recv() {
        let started_at = clock::now().mono;
        let mut check = false;
        let mut emptied = None;
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Write(work, queued_at) => {
                    times.observe_wait(started_at.since(queued_at));
                    if !work.is_abandoned() {
                        group.push(work);
                    }
                }
                Command::CheckForChanges => check = true,
                Command::EmptyJournal(reply) => emptied = Some(reply),
            }
            next = (group.len() < MAX_WRITES_PER_TRANSACTION)
                .then(|| commands.try_recv().ok())
                .flatten();
        }
        if !group.is_empty() {
            writer.commit(&mut group);
            times.observe_work(clock::now().mono.since(started_at));
        }
        if let Some(reply) = emptied {
            // The caller may have stopped waiting.
            let _ = reply.send(writer.empty_journal());
        }
        if check {
            writer.check_files();
            let now = writer.data_version();
            if now != writer.version {
                writer.version = now;
                changes.send_modify(|count| *count += 1);
            }
        }
    }
}

/// The connection that writes, and its knowledge of other processes.
pub(super) struct Writer {
    connection: Connection,
    path: PathBuf,
    files: OpenFiles,
    /// Whether the files were in place at the last check.
    in_place: bool,
    /// The last result of [`Writer::data_version`].
    version: Option<i64>,
}

impl Writer {
    /// Every later commit of another process is reported as a change.
    pub(super) fn new(connection: Connection, path: PathBuf) -> Writer {
        let mut writer = Writer {
            connection,
            files: OpenFiles::record(&path),
            in_place: true,
            path,
            version: None,
        };
        writer.version = writer.data_version();
        writer
    }

    /// Changes when a connection other than this one has committed; readers never do.
    fn data_version(&self) -> Option<i64> {
        self.connection
            .query_row("PRAGMA data_version", (), |row| row.get(0))
            .ok()
    }

    /// Logs that the files were removed or replaced, or that they are back.
    fn check_files(&mut self) {
        let in_place = self.files.are_in_place();
        if in_place == self.in_place {
            return;
        }
        self.in_place = in_place;
        let path = self.path.display();
        if in_place {
            tracing::info!(%path, "database file restored");
        } else {
            tracing::error!(
                %path,
                "the database file was removed or replaced: nothing more is written"
            );
        }
    }

    /// Writes the journal into the database file and empties it. Does nothing while another connection reads from the
    /// journal for longer than [`JOURNAL_TIMEOUT`].
    fn empty_journal(&self) -> Result<(), StoreError> {
        let emptied = self
            .connection
            .busy_timeout(JOURNAL_TIMEOUT)
            .and_then(|()| {
                let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
                self.connection.query_row(sql, (), |_| Ok(()))
            });
        let restored = self.connection.busy_timeout(BUSY_TIMEOUT);
        emptied
            .and(restored)
            .map_err(|error| store_error(&self.path, &error))
    }

    /// Writes the group and reports to every caller in it. A write into a file that is no longer at its
    /// path is never acknowledged.
    fn commit(&mut self, group: &mut Vec<Box<dyn Work>>) {
        let mut errors = Vec::with_capacity(group.len());
        let replaced = Err(StoreError::Replaced(self.path.clone()));
        let outcome = if self.files.are_in_place() {
            self.write_or_roll_back(group, &mut errors)
        } else {
            replaced.clone()
        };
        let outcome = match outcome {
            Ok(()) if !self.files.are_in_place() => replaced,
            outcome => outcome,
        };
        errors.resize(group.len(), None);
        for (work, error) in group.drain(..).zip(errors) {
            work.report(outcome.clone().err().or(error));
        }
        self.check_files();
    }

    fn write_or_roll_back(
        &mut self,
        group: &mut [Box<dyn Work>],
        errors: &mut Vec<Option<StoreError>>,
    ) -> Result<(), StoreError> {
        let written = self.write(group, errors);
        if written.is_err() && !self.connection.is_autocommit() {
            // If this fails too, the next BEGIN fails and reports it to its callers.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        written.map_err(|error| store_error(&self.path, &error))
    }

    /// Runs one transaction, from BEGIN to COMMIT. `errors` receives the error of each write alone.
    fn write(
        &self,
        group: &mut [Box<dyn Work>],
        errors: &mut Vec<Option<StoreError>>,
    ) -> rusqlite::Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        for work in group {
            if work.is_abandoned() {
                errors.push(None);
                continue;
            }
            self.execute("SAVEPOINT one")?;
            let ran = work.run(&self.connection);
            // SQLite rolls back the whole transaction by itself on some errors, such as a full disk.
            if ran.is_err() && self.connection.is_autocommit() {
                return ran.map(drop);
            }
            if !matches!(ran, Ok(true)) {
                self.execute("ROLLBACK TO one")?;
            }
            self.execute("RELEASE one")?;
            let error = ran.err().map(|error| store_error(&self.path, &error));
            errors.push(error);
        }
        self.execute("COMMIT")
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(()).map(drop)
    }
}
