//! Opens connections to the database file, one kind for writing and one for reading.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::store_error;
use super::schema;
use crate::storage::StoreError;

/// Timeout for another process's lock at the start, when a migration may take long.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for another process's lock later: shorter than the timeout of a request.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(4);
/// Number of prepared statements that each connection caches: more than the store has.
const STATEMENT_CACHE_CAPACITY: usize = 128;

/// Opens the connection that writes. Creates a missing file (mode 0600) and migrates an older schema.
///
/// # Errors
/// The file cannot be opened or written, belongs to another program or a newer parlor, or a part of the
/// path is a link.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    create_file(path)?;
    let mut connection = connect(path)?;
    let failed = |error: rusqlite::Error| store_error(path, &error);
    if connection.is_readonly("main").map_err(failed)? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    // Before the journal mode is changed: another program's file must stay unchanged.
    schema::version(&connection, path)?;
    use_wal(&connection).map_err(failed)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
        // Deleted rows are overwritten with zeros: the text of a deleted message must not stay in a free page.
        .and_then(|()| connection.pragma_update(None, "secure_delete", true))
        .map_err(failed)?;
    schema::migrate(&mut connection, path)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that can only read.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    connection
        .pragma_update(None, "query_only", true)
        .and_then(|()| connection.busy_timeout(BUSY_TIMEOUT))
        .map_err(|error| store_error(path, &error))?;
    Ok(connection)
}

/// Creates a missing file with mode 0600. SQLite would use the umask; its journal files inherit the
/// mode of this file.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(StoreError::CannotOpen {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
        _ => Ok(()),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(OPEN_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE_CAPACITY);
        Ok(connection)
    };
    open().map_err(|error| store_error(path, &error))
}

/// Switches the file to WAL. That needs an exclusive lock on a new file, and SQLite does not always wait
/// for it when two processes start together: this function retries.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut attempts = OPEN_TIMEOUT.as_millis() / PAUSE.as_millis();
    loop {
        let turned = connection.query_row("PRAGMA journal_mode = WAL", (), |row| {
            row.get::<_, String>(0)
        });
        match turned {
            Err(error) if is_busy(&error) && attempts > 0 => {
                attempts -= 1;
                std::thread::sleep(PAUSE);
            }
            turned => return turned.map(drop),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}
