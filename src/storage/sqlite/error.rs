//! Translates errors of SQLite.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use rusqlite::ErrorCode;

use crate::storage::StoreError;

/// Returns the error of the port for an error of SQLite on the database at `path`.
pub(super) fn store_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::NotOurs(path),
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged(path),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly(path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked(path),
        Some(ErrorCode::DiskFull) => StoreError::Full(path),
        Some(ErrorCode::SystemIoFailure) if is_full(&path) => StoreError::Full(path),
        Some(ErrorCode::SystemIoFailure) => StoreError::Disk {
            path,
            reason: error.to_string(),
        },
        Some(ErrorCode::CannotOpen) => StoreError::CannotOpen {
            path,
            reason: error.to_string(),
        },
        _ => StoreError::Failed {
            path,
            reason: error.to_string(),
        },
    }
}

/// Whether the file system has no space for SQLite's shared memory. SQLite reports only "disk I/O error"
/// if its shared memory does not fit.
fn is_full(path: &Path) -> bool {
    const SHARED_MEMORY_BYTES: u64 = 32 * 1024;
    let directory = path.parent().unwrap_or(path);
    statvfs(directory).is_ok_and(|found| {
        found
            .blocks_available()
            .saturating_mul(found.fragment_size())
            < SHARED_MEMORY_BYTES
    })
}
