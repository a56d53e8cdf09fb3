//! A data directory in use.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::directory::Directory;
use super::error::{DataDirError, unusable};
use super::{lock, owner};

const DATABASE_FILE: &str = "parlor.db";

/// A data directory in use. The lock is held until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    pub(super) directory: Directory,
    _lock: Option<File>,
}

impl DataDir {
    /// Creates a missing directory and locks it, for `serve`.
    ///
    /// # Errors
    /// The directory can't be created or written, or another `serve` uses it.
    pub fn acquire(path: &Path) -> Result<DataDir, DataDirError> {
        owner::create_private(path).map_err(|reason| match path.metadata() {
            Ok(found) if !found.is_dir() => DataDirError::NotADirectory(path.to_owned()),
            _ => unusable(path, reason),
        })?;
        let mut data_dir = DataDir::open(path)?;
        data_dir._lock = Some(lock::lock(&data_dir.directory)?);
        Ok(data_dir)
    }

    /// Opens an existing directory without locking it, for commands.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        let directory = Directory::open(path).map_err(|reason| match reason.kind() {
            io::ErrorKind::NotFound => DataDirError::Missing(path.to_owned()),
            io::ErrorKind::NotADirectory => DataDirError::NotADirectory(path.to_owned()),
            _ => unusable(path, reason),
        })?;
        Ok(DataDir {
            directory,
            _lock: None,
        })
    }

    /// Returns another handle on the same directory, without the lock.
    ///
    /// # Errors
    /// The system has no free descriptor.
    pub fn try_clone(&self) -> io::Result<DataDir> {
        Ok(DataDir {
            directory: self.directory.try_clone()?,
            _lock: None,
        })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Whether a `serve` uses the directory.
    pub fn is_locked(&self) -> bool {
        lock::is_locked(&self.directory)
    }

    /// Returns the path of the database, without links. Creates a missing file, empty and owned by the directory's
    /// owner: a command run by root must not lock out the daemon's user.
    ///
    /// SQLite opens its files by path and follows no link to them (`O_NOFOLLOW`). This function checks
    /// their type and owner just before.
    ///
    /// # Errors
    /// The file cannot be created, or one of the database's files does not belong to parlor.
    pub fn database_path(&self) -> Result<PathBuf, DataDirError> {
        for suffix in ["-wal", "-shm", "-journal"] {
            self.directory.check(&format!("{DATABASE_FILE}{suffix}"))?;
        }
        if !self.directory.check(DATABASE_FILE)? {
            match self.directory.create(DATABASE_FILE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => drop(made.map_err(|reason| unusable(self.path(), reason))?),
            }
        }
        let real = self.directory.real_path();
        let real = real.map_err(|reason| unusable(self.path(), reason))?;
        Ok(real.join(DATABASE_FILE))
    }

    /// Whether the database file exists, with any content.
    pub fn has_database(&self) -> bool {
        self.directory.status(DATABASE_FILE) != Err(Errno::ENOENT)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn serve_creates_the_directory_for_its_user_alone_and_a_command_does_not() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a/b");
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, DataDirError::Missing(_)), "{error}");
        DataDir::acquire(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_second_serve_is_rejected_with_the_process_id_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::acquire(dir.path()).unwrap();
        let error = DataDir::acquire(dir.path()).unwrap_err().to_string();
        let process = format!("(process {})", std::process::id());
        assert!(
            error.contains("in use") && error.contains(&process),
            "{error}"
        );
        drop(first);
        DataDir::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_file_is_rejected_as_a_data_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for result in [DataDir::acquire(file.path()), DataDir::open(file.path())] {
            let error = result.unwrap_err();
            assert!(matches!(error, DataDirError::NotADirectory(_)), "{error}");
        }
    }

    #[test]
    fn a_new_database_is_readable_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let path = data_dir.database_path().unwrap();
        assert_eq!((mode(&path), path.metadata().unwrap().len()), (0o600, 0));
        fs::write(&path, "kept").unwrap();
        assert_eq!(
            fs::read(data_dir.database_path().unwrap()).unwrap(),
            b"kept"
        );
    }
}
