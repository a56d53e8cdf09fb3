//! Private files whose content changes: certificates with their keys, and the ACME account.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::fcntl::OFlag;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::error::{DataDirError, unusable};
use super::handle::DataDir;
use crate::secret::Secret;

/// Maximum size of a file: more than a chain of certificates with its key has.
const MAX_FILE_BYTES: u64 = 256 * 1024;

impl DataDir {
    /// Returns the content of a file, or `None` if there is no such file.
    ///
    /// # Errors
    /// The file can't be read, or another user could have written it.
    pub fn read_file(&self, name: &str) -> Result<Option<Secret>, DataDirError> {
        let Some(file) = self.open_private(name)? else {
            return Ok(None);
        };
        let path = self.path().join(name);
        // The whole capacity at once: a buffer that grows leaves copies of the secret behind.
        let size = file.metadata().map_or(0, |found| found.len());
        let mut text = Zeroizing::new(String::with_capacity(size.min(MAX_FILE_BYTES) as usize + 1));
        let read = file.take(MAX_FILE_BYTES).read_to_string(&mut text);
        match read {
            Ok(_) => Ok(Some(Secret::new(text.as_str()))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(DataDirError::Damaged(path))
            }
            Err(reason) => Err(DataDirError::File { path, reason }),
        }
    }

    /// Replaces the content of a file (mode 0600), by a temporary file that is renamed: after a crash the file
    /// has the old or the new content.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_file(&self, name: &str, text: &Secret) -> Result<(), DataDirError> {
        let temporary = format!("{name}.{}.new", Uuid::new_v4());
        let written = self.write_new_file(&temporary, text.expose());
        let moved = written.and_then(|()| self.directory.rename(&temporary, name));
        if let Err(reason) = moved {
            // The temporary file may be incomplete.
            let _ = self.directory.remove(&temporary);
            return Err(unusable(self.path(), reason));
        }
        let synced = self.directory.sync();
        synced.map_err(|reason| unusable(self.path(), reason))
    }

    /// Removes the file of this name.
    ///
    /// # Errors
    /// There is no such file, or it can't be removed.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    /// Opens a file that no other user can have written, and makes it unreadable for other users.
    pub(super) fn open_private(&self, name: &str) -> Result<Option<File>, DataDirError> {
        let Some(file) = self.directory.file(name, OFlag::O_RDONLY)? else {
            return Ok(None);
        };
        let path = self.path().join(name);
        let wrong = |reason| DataDirError::File {
            path: path.clone(),
            reason,
        };
        let found = file.metadata().map_err(wrong)?;
        // Root's commands do not change files of root in another user's directory.
        let ours = found.uid() == self.directory.owner || !nix::unistd::geteuid().is_root();
        if found.mode() & 0o077 != 0 && ours {
            tracing::warn!(path = %path.display(), mode = %format!("{:o}", found.mode() & 0o777),
                "secret file was readable by other users; made private");
            file.set_permissions(Permissions::from_mode(0o600))
                .map_err(wrong)?;
        }
        Ok(Some(file))
    }

    fn write_new_file(&self, name: &str, text: &str) -> io::Result<()> {
        let mut file = self.directory.create(name)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_private_and_replaced_as_a_whole() {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::acquire(place.path()).unwrap();
        assert_eq!(dir.read_file("made.pem").unwrap(), None);
        for text in ["one", "another, which is longer", ""] {
            dir.write_file("made.pem", &Secret::new(text)).unwrap();
            assert_eq!(dir.read_file("made.pem").unwrap(), Some(Secret::new(text)));
        }
        let path = place.path().join("made.pem");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        dir.read_file("made.pem").unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let files = fs::read_dir(place.path()).unwrap().count();
        assert_eq!(files, 2, "the lock and the text");
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::acquire(place.path()).unwrap();
        // A directory stands where the text would.
        fs::create_dir(place.path().join("made.pem")).unwrap();
        let error = dir
            .write_file("made.pem", &Secret::new("text"))
            .unwrap_err();
        assert!(error.to_string().contains("can't be used"), "{error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
        fs::remove_dir(place.path().join("made.pem")).unwrap();
        fs::write(place.path().join("made.pem"), [0xff]).unwrap();
        let error = dir.read_file("made.pem").unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}
