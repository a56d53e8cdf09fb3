//! The generated secrets of a data directory.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::error::{DataDirError, unusable};
use super::handle::DataDir;
use crate::secret::Secret;
use crate::text_file;

/// Random bytes of a secret; the file contains them as hexadecimal text.
const SECRET_BYTES: usize = 32;
const MAX_SECRET_FILE_BYTES: u64 = 4096;
/// Age after which a start generates a new key for nonces.
const NONCE_KEY_LIFETIME_SECONDS: u64 = 7 * 24 * 3600;

/// The file of a secret that is generated once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretFile {
    /// Signs tokens if `auth.secret` is unset.
    Auth,
    /// Mints TURN credentials if `turn.secret` is unset.
    Turn,
    /// Keys the nonces of STUN, so that they stay valid across a restart.
    NonceKey,
    /// The previous key of nonces, which still verifies.
    PreviousNonceKey,
}

impl SecretFile {
    fn file_name(self) -> &'static str {
        match self {
            SecretFile::Auth => "auth.secret",
            SecretFile::Turn => "turn.secret",
            SecretFile::NonceKey => "nonce.key",
            SecretFile::PreviousNonceKey => "nonce.previous",
        }
    }
}

impl DataDir {
    /// Whether a secret exists.
    pub fn has_secret(&self, secret: SecretFile) -> bool {
        self.directory.status(secret.file_name()).is_ok()
    }

    /// Returns a secret of this directory, and generates it at the first call.
    ///
    /// # Errors
    /// The file can't be read or written, or is damaged.
    pub fn secret(&self, secret: SecretFile) -> Result<Secret, DataDirError> {
        let name = secret.file_name();
        if let Some(secret) = self.read_secret(name)? {
            return Ok(secret);
        }
        self.generate_secret(name)?;
        // Read again: another process may have generated it meanwhile.
        let made = self.read_secret(name)?;
        made.ok_or_else(|| DataDirError::Damaged(self.path().join(name)))
    }

    /// Returns the keys of nonces, newest first. A key older than `NONCE_KEY_LIFETIME_SECONDS` becomes the
    /// previous key; nonces are valid for an hour, so no client notices.
    ///
    /// # Errors
    /// See [`DataDir::secret`].
    pub fn nonce_keys(&self, unix: u64) -> Result<Vec<Secret>, DataDirError> {
        let (current, previous) = (
            SecretFile::NonceKey.file_name(),
            SecretFile::PreviousNonceKey.file_name(),
        );
        let made = self.directory.status(current).ok();
        let made = made.and_then(|made| u64::try_from(made.st_mtime).ok());
        if made.is_some_and(|made| made.saturating_add(NONCE_KEY_LIFETIME_SECONDS) < unix) {
            let moved = self.directory.rename(current, previous);
            moved.map_err(|reason| unusable(self.path(), reason))?;
        }
        let newest = self.secret(SecretFile::NonceKey)?;
        Ok([Some(newest), self.read_secret(previous)?]
            .into_iter()
            .flatten()
            .collect())
    }

    fn read_secret(&self, name: &str) -> Result<Option<Secret>, DataDirError> {
        let Some(file) = self.open_private(name)? else {
            return Ok(None);
        };
        let path = self.path().join(name);
        let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET_FILE_BYTES as usize));
        let read = file.take(MAX_SECRET_FILE_BYTES).read_to_string(&mut text);
        match (read, text_file::strip_bom(&text).trim()) {
            (Err(reason), _) => Err(DataDirError::File { path, reason }),
            (_, text) if text.len() < SECRET_BYTES => Err(DataDirError::Damaged(path)),
            (_, text) => Ok(Some(Secret::new(text))),
        }
    }

    /// Writes a temporary file and links it into place, so that no reader sees a part of it.
    fn generate_secret(&self, name: &str) -> Result<(), DataDirError> {
        let temporary = format!("{name}.{}.new", Uuid::new_v4());
        let written = self
            .write_secret(&temporary)
            .and_then(|()| self.directory.link(&temporary, name));
        let removed = self.directory.remove(&temporary);
        match written.and(removed) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(reason) => Err(unusable(self.path(), reason)),
            Ok(()) => self
                .directory
                .sync()
                .map_err(|reason| unusable(self.path(), reason)),
        }
    }

    fn write_secret(&self, name: &str) -> io::Result<()> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        SystemRandom::new()
            .fill(bytes.as_mut_slice())
            .map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let mut text = Zeroizing::new(String::with_capacity(2 * SECRET_BYTES));
        for byte in bytes.iter() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        let mut file = self.directory.create(name)?;
        writeln!(file, "{}", *text)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn a_secret_is_generated_once_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let first = data_dir.secret(SecretFile::Auth).unwrap();
        assert_eq!(first.expose().len(), 2 * SECRET_BYTES);
        assert_eq!(data_dir.secret(SecretFile::Auth).unwrap(), first);
        assert_ne!(data_dir.secret(SecretFile::Turn).unwrap(), first);
        assert_eq!(mode(&dir.path().join("auth.secret")), 0o600);
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 2, "nothing is left beside the secrets");
    }

    #[test]
    fn an_old_nonce_key_is_replaced_and_still_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        let now = crate::clock::now().unix;
        let first = data_dir.nonce_keys(now).unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(
            data_dir
                .nonce_keys(now + NONCE_KEY_LIFETIME_SECONDS / 2)
                .unwrap(),
            first
        );
        let rotated = data_dir
            .nonce_keys(now + NONCE_KEY_LIFETIME_SECONDS + 60)
            .unwrap();
        assert_eq!((rotated.len(), &rotated[1]), (2, &first[0]));
        assert_ne!(rotated[0], first[0]);
    }

    #[test]
    fn concurrent_callers_get_the_same_new_secret() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let make = || data_dir.secret(SecretFile::NonceKey).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_secret_file_that_others_can_read_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turn.secret");
        fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let secret = data_dir.secret(SecretFile::Turn).unwrap();
        assert_eq!(secret.expose(), "0123456789abcdef0123456789abcdef");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_truncated_secret_is_rejected_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("auth.secret"), "").unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let error = data_dir.secret(SecretFile::Auth).unwrap_err().to_string();
        assert!(error.contains("auth.secret is damaged"), "{error}");
    }
}
