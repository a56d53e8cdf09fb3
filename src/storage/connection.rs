//! Opens the file, for writing and for reading.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, schema};

/// Timeouts for another process's lock: at the start, when a migration may take long, and later, shorter
/// than the timeout of a request.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);
/// Statements kept prepared on each connection; the store has fewer.
const STATEMENT_CACHE_CAPACITY: usize = 128;

/// The connection that writes; no part of the path may be a link. Makes the file (mode 0600) where there is none, and migrates it.
pub fn writer(path: &Path) -> Result<Connection, StoreError> {
    create_file(path)?;
    let mut connection = connect(path)?;
    let failed = |error: rusqlite::Error| StoreError::new(path, &error);
    if connection.is_readonly("main").map_err(failed)? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    // Another program's file is left as it is, its journal mode too.
    schema::version(&connection, path)?;
    use_wal(&connection).map_err(failed)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
        .map_err(failed)?;
    schema::migrate(&mut connection, path)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    Ok(connection)
}

/// A connection that can only read.
pub fn reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    connection
        .pragma_update(None, "query_only", true)
        .and_then(|()| connection.busy_timeout(BUSY_TIMEOUT))
        .map_err(|error| StoreError::new(path, &error))?;
    Ok(connection)
}

/// SQLite would make the file with the umask's mode; its journal files take over this one's.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(StoreError::CannotOpen {
            path: path.to_owned(),
            why: error.to_string(),
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
    open().map_err(|error| StoreError::new(path, &error))
}

/// Turning a new file to WAL needs it alone for a moment, and SQLite does not always wait for that
/// by itself when two processes start together.
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
