//! The one thread that writes. It takes all that waits into one IMMEDIATE transaction, a savepoint
//! each, and answers only after COMMIT: every acknowledged write is on the disk, without one fsync
//! each. A write that fails rolls back alone.

use std::path::PathBuf;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::StoreError;
use super::open_files::OpenFiles;
use crate::clock::{self, Mono};
use crate::metrics::Timings;

/// Writes that one transaction takes at most, so that the first does not wait for ever.
const MAX_WRITES_PER_TRANSACTION: usize = 256;

/// What the thread is asked to do.
pub enum Command {
    /// With the moment at which it was asked for.
    Write(Box<dyn Work>, Mono),
    /// Check whether another process has written, and notify the watch; check whether the files are still
    /// in place.
    CheckForChanges,
}

/// A write on its way: first it runs, and when all is on the disk or lost, it answers.
pub trait Work: Send {
    /// Whether the caller stopped waiting for the result. A write that has not started by then is skipped:
    /// the caller received an error, or was dropped.
    fn is_abandoned(&self) -> bool;
    /// Runs inside a savepoint, which is kept only where this returns true.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<bool>;
    /// Tells the asker. `fault` is what kept the transaction, or this write, from the disk.
    fn answer(self: Box<Self>, fault: Option<StoreError>);
}

/// A closure and the one who waits for its result.
pub struct Write<T, E, F> {
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
    pub fn new(work: F) -> (Write<T, E, F>, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        let write = Write {
            work: Some(work),
            outcome: None,
            reply,
        };
        (write, answer)
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

    fn answer(self: Box<Self>, fault: Option<StoreError>) {
        let answer = match (fault, self.outcome) {
            (Some(fault), _) => Err(E::from(fault)),
            (None, Some(outcome)) => outcome,
            // Dropping the sender tells the asker that the store is closed.
            (None, None) => return,
        };
        // Whoever asked may be gone; what was written stays.
        let _ = self.reply.send(answer);
    }
}

/// Runs until every sender is gone.
pub fn run(
    mut writer: Writer,
    mut commands: mpsc::Receiver<Command>,
    changes: watch::Sender<u64>,
    times: &Timings,
) {
    let mut group: Vec<Box<dyn Work>> = Vec::new();
    while let Some(first) = commands.blocking_recv() {
        let begun = clock::now().mono;
        let mut look = false;
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Write(work, asked) => {
                    times.observe_wait(begun.since(asked));
                    if !work.is_abandoned() {
                        group.push(work);
                    }
                }
                Command::CheckForChanges => look = true,
            }
            next = (group.len() < MAX_WRITES_PER_TRANSACTION)
                .then(|| commands.try_recv().ok())
                .flatten();
        }
        if !group.is_empty() {
            writer.commit(&mut group);
            times.observe_work(clock::now().mono.since(begun));
        }
        if look {
            writer.check_files();
            let now = writer.data_version();
            if now != writer.version {
                writer.version = now;
                changes.send_modify(|count| *count += 1);
            }
        }
    }
}

/// The connection that writes, and what it knows of other processes.
pub struct Writer {
    connection: Connection,
    path: PathBuf,
    files: OpenFiles,
    /// Whether the files were in place at the last check.
    in_place: bool,
    /// As last seen, by [`Writer::data_version`].
    version: Option<i64>,
}

impl Writer {
    /// Whatever another process commits from now on is a change.
    pub fn new(connection: Connection, path: PathBuf) -> Writer {
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
        match in_place {
            true => tracing::info!(%path, "the database file is back in its place"),
            false => tracing::error!(
                %path,
                "the database file was removed or replaced: nothing more is written"
            ),
        }
    }

    /// Writes the group and reports to every caller in it. A write into a file that is no longer at its
    /// path is never acknowledged.
    fn commit(&mut self, group: &mut Vec<Box<dyn Work>>) {
        let mut errors = Vec::with_capacity(group.len());
        let replaced = Err(StoreError::Replaced(self.path.clone()));
        let lost = match self.files.are_in_place() {
            true => self.write_or_roll_back(group, &mut errors),
            false => replaced.clone(),
        };
        let lost = match lost {
            Ok(()) if !self.files.are_in_place() => replaced,
            lost => lost,
        };
        errors.resize(group.len(), None);
        for (work, fault) in group.drain(..).zip(errors) {
            work.answer(lost.clone().err().or(fault));
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
            // If even this fails, the next BEGIN does too, and says so to its askers.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        written.map_err(|error| StoreError::new(&self.path, &error))
    }

    /// One transaction, from BEGIN to COMMIT. `faults` gets what went wrong with each write alone.
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
            // A full disk, say, makes SQLite roll back the whole transaction by itself.
            if ran.is_err() && self.connection.is_autocommit() {
                return ran.map(drop);
            }
            if !matches!(ran, Ok(true)) {
                self.execute("ROLLBACK TO one")?;
            }
            self.execute("RELEASE one")?;
            let fault = ran.err().map(|error| StoreError::new(&self.path, &error));
            errors.push(fault);
        }
        self.execute("COMMIT")
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(()).map(drop)
    }
}
