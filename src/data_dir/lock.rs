//! The lock of a data directory: only one `serve` uses it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::time::Duration;

use nix::fcntl::OFlag;

use super::directory::Directory;
use super::error::{DataDirError, unusable};

/// The file that `serve` locks. It contains the process id.
const LOCK_FILE: &str = "parlor.lock";

/// Locks the directory for this process, until the returned file is dropped.
///
/// # Errors
/// Another `serve` holds the lock, or the file can't be written.
pub(super) fn lock(directory: &Directory) -> Result<File, DataDirError> {
    let mut file = lock_file(directory)?;
    let path = directory.path();
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.take(20).read_to_string(&mut holder).is_ok() && !holder.is_empty();
            return Err(DataDirError::InUse {
                path: path.to_owned(),
                owner: if known {
                    format!(" (process {})", holder.trim())
                } else {
                    String::new()
                },
            });
        }
        Err(TryLockError::Error(reason)) => return Err(unusable(path, reason)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|reason| unusable(path, reason))?;
    Ok(file)
}

/// Opens the file to lock; creates a missing file.
fn lock_file(directory: &Directory) -> Result<File, DataDirError> {
    match directory.create(LOCK_FILE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = directory.file(LOCK_FILE, OFlag::O_RDWR)?;
            there.ok_or_else(|| unusable(directory.path(), error))
        }
        made => made.map_err(|reason| unusable(directory.path(), reason)),
    }
}

/// Retries for 100 ms: a command that checks the lock holds it for a moment.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            outcome => return outcome,
        }
    }
    file.try_lock()
}

/// Whether another process holds the lock.
pub(super) fn is_locked(directory: &Directory) -> bool {
    let file = directory.file(LOCK_FILE, OFlag::O_RDONLY);
    let tried = file.ok().flatten().map(|file| file.try_lock_shared());
    matches!(tried, Some(Err(TryLockError::WouldBlock)))
}
