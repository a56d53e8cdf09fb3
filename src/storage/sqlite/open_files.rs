//! Checks that the files that SQLite has open are still the files at their paths. Once they were removed
//! or replaced, new writes would be lost at the next start.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The database and the files that SQLite keeps beside it while a connection is open.
const FILE_SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// The identities of the files when they were opened.
pub(super) struct OpenFiles {
    opened: Vec<(PathBuf, FileId)>,
}

/// The identity of an existing file: device and inode.
type FileId = (u64, u64);

impl OpenFiles {
    /// Records the files of a database that has just been opened and written to.
    pub(super) fn record(path: &Path) -> OpenFiles {
        let paths = FILE_SUFFIXES.map(|suffix| {
            let mut path = OsString::from(path);
            path.push(suffix);
            PathBuf::from(path)
        });
        let opened = paths.into_iter().filter_map(|path| {
            let id = file_id(&path)?;
            Some((path, id))
        });
        OpenFiles {
            opened: opened.collect(),
        }
    }

    /// Whether each file is still at its path.
    pub(super) fn are_in_place(&self) -> bool {
        let mut opened = self.opened.iter();
        opened.all(|(path, opened)| file_id(path) == Some(*opened))
    }
}

fn file_id(path: &Path) -> Option<FileId> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
