//! Private texts that change: certificates with their keys, and the account at an authority.

use std::io::{self, Read, Write};

use uuid::Uuid;

use super::{DataDir, DataDirError, unusable};
use crate::secret::Secret;

/// No chain of certificates with its key comes near.
const MAX_FILE_BYTES: u64 = 256 * 1024;

impl DataDir {
    /// What was kept under a name, if anything was.
    ///
    /// # Errors
    /// Where it can't be read, or another user could have written it.
    pub fn read_file(&self, name: &str) -> Result<Option<Secret>, DataDirError> {
        let Some(file) = self.open_private(name)? else {
            return Ok(None);
        };
        let path = self.path().join(name);
        let mut text = String::new();
        let read = file.take(MAX_FILE_BYTES).read_to_string(&mut text);
        match read {
            Ok(_) => Ok(Some(Secret::new(text))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(DataDirError::Damaged(path))
            }
            Err(reason) => Err(DataDirError::File { path, reason }),
        }
    }

    /// Keeps a text under a name, in the place of what was there: written beside and moved into place
    /// whole, mode 0600, so that after a crash there is the one or the other.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write_file(&self, name: &str, text: &Secret) -> Result<(), DataDirError> {
        let temporary = format!("{name}.{}.new", Uuid::new_v4());
        let written = self.write_new_file(&temporary, text.expose());
        let moved = written.and_then(|()| self.directory.rename(&temporary, name));
        if let Err(reason) = moved {
            // Whatever there is of it is of no use.
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
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_text_is_kept_private_and_replaced_whole() {
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
    fn what_cannot_be_written_leaves_what_was_there() {
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
