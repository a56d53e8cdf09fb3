//! Errors of the data directory. Each names the path and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why the data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error(
        "no home directory is known for the data: set server.data_dir (PARLOR_SERVER__DATA_DIR)"
    )]
    NoHome,
    #[error(
        "data directory {0} does not exist: `parlor serve` creates it; or set server.data_dir (PARLOR_SERVER__DATA_DIR)"
    )]
    Missing(PathBuf),
    #[error(
        "data directory {0} is not a directory: set server.data_dir (PARLOR_SERVER__DATA_DIR) to one"
    )]
    NotADirectory(PathBuf),
    #[error(
        "data directory {path} can't be used: {reason}; give this user access to it, or set server.data_dir (PARLOR_SERVER__DATA_DIR)"
    )]
    Unusable { path: PathBuf, reason: io::Error },
    #[error(
        "data directory {path} is in use by another `parlor serve`{owner}: stop that one, or set server.data_dir (PARLOR_SERVER__DATA_DIR) to another"
    )]
    InUse { path: PathBuf, owner: String },
    #[error("{path} can't be used: {reason}")]
    File { path: PathBuf, reason: io::Error },
    #[error(
        "{path} belongs to user {owner}, and the data directory to user {wanted}: where parlor made the file, give it to them as root (`chown {wanted} {path}`); else remove it"
    )]
    ForeignOwner {
        path: PathBuf,
        owner: u32,
        wanted: u32,
    },
    #[error(
        "{path} is {kind}, where parlor keeps a file: find out who put it there, and remove it"
    )]
    NotAFile { path: PathBuf, kind: &'static str },
    #[error("{0} is damaged: put it back from a backup, or delete it, and a new one will be made")]
    Damaged(PathBuf),
}

/// Returns the error for a directory that cannot be read or written.
pub(super) fn unusable(path: &Path, reason: io::Error) -> DataDirError {
    DataDirError::Unusable {
        path: path.to_owned(),
        reason,
    }
}
