//! The data directory: where it is, who may use it, and what is private in it.
//!
//! `serve` makes it (mode 0700) and locks it for as long as it runs. Commands beside it use the
//! directory as they find it, and never make one: run by root, they would make it for root.

mod directory;
mod files;

use std::env;
use std::fs::{File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use crate::config;
use crate::secret::Secret;
use crate::text_file;

use directory::Directory;
pub use directory::as_owner_of;

/// Locked by the one `serve` that uses the directory; tells its process id.
const LOCK_FILE: &str = "parlor.lock";
const DATABASE_FILE: &str = "parlor.db";
/// Random bytes of a secret; it is kept as hexadecimal text.
const SECRET_BYTES: usize = 32;
/// Seconds after which a start makes a new key for nonces.
const NONCE_KEY_LIFETIME_SECONDS: u64 = 7 * 24 * 3600;

/// A secret that is made once and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretFile {
    /// Signs tokens, where `auth.secret` is unset.
    Auth,
    /// Mints credentials, where `turn.secret` is unset.
    Turn,
    /// Keys the nonces of STUN, which so stay valid across a restart.
    NonceKey,
    /// The one before, which still checks.
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

/// Why the data directory can't be used; each names the path and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error(
        "no home directory is known to keep data in: set server.data_dir (PARLOR_SERVER__DATA_DIR)"
    )]
    NoHome,
    #[error(
        "data directory {0} does not exist: `parlor serve` makes it; or set server.data_dir (PARLOR_SERVER__DATA_DIR)"
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

/// A data directory in use; what holds the lock lives as long as this.
#[derive(Debug)]
pub struct DataDir {
    directory: Directory,
    _lock: Option<File>,
}

/// The directory that the configuration and the environment name.
///
/// # Errors
/// [`DataDirError::NoHome`] where neither does.
pub fn resolve(server: &config::Server) -> Result<PathBuf, DataDirError> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let home = || {
        let user = || nix::unistd::User::from_uid(nix::unistd::geteuid());
        variable("HOME")
            .map(PathBuf::from)
            .or_else(|| Some(user().ok()??.dir))
    };
    select(
        server.data_dir.as_deref(),
        variable("STATE_DIRECTORY").map(PathBuf::from),
        variable("XDG_DATA_HOME").map(PathBuf::from),
        home,
    )
    .ok_or(DataDirError::NoHome)
}

/// The directory, where the configuration or systemd names one.
pub fn configured(server: &config::Server) -> Option<PathBuf> {
    let state = env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
    select(
        server.data_dir.as_deref(),
        state.map(PathBuf::from),
        None,
        || None,
    )
}

fn select(
    configured: Option<&Path>,
    state: Option<PathBuf>,
    xdg: Option<PathBuf>,
    home: impl FnOnce() -> Option<PathBuf>,
) -> Option<PathBuf> {
    if let Some(path) = configured {
        return Some(path.to_owned());
    }
    if let Some(paths) = state {
        // systemd separates several by colons.
        return env::split_paths(&paths).next();
    }
    if let Some(data) = xdg.filter(|data| data.is_absolute()) {
        return Some(data.join("parlor"));
    }
    Some(home()?.join(".local/share/parlor"))
}

impl DataDir {
    /// For `serve`: makes the directory where there is none, and locks it.
    ///
    /// # Errors
    /// Where it can't be made or written, or another `serve` has it.
    pub fn acquire(path: &Path) -> Result<DataDir, DataDirError> {
        directory::create_private(path).map_err(|reason| match path.metadata() {
            Ok(found) if !found.is_dir() => DataDirError::NotADirectory(path.to_owned()),
            _ => unusable(path, reason),
        })?;
        let mut data_dir = DataDir::open(path)?;
        data_dir._lock = Some(lock(&data_dir.directory)?);
        Ok(data_dir)
    }

    /// For commands beside `serve`, or without it: the directory as it is, not locked.
    ///
    /// # Errors
    /// Where there is no such directory.
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

    /// Another handle on the same directory, not locked.
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

    /// Whether a `serve` has it.
    pub fn is_locked(&self) -> bool {
        let file = self.directory.file(LOCK_FILE, OFlag::O_RDONLY);
        let tried = file.ok().flatten().map(|file| file.try_lock_shared());
        matches!(tried, Some(Err(TryLockError::WouldBlock)))
    }

    /// The database's path, without links. Creates a missing file, empty and owned by the directory's
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

    /// Whether a secret has been made.
    pub fn has_secret(&self, secret: SecretFile) -> bool {
        self.directory.status(secret.file_name()).is_ok()
    }

    /// A secret of this directory; made on the first call ever.
    ///
    /// # Errors
    /// Where it can't be read or made, or is not what was made.
    pub fn secret(&self, secret: SecretFile) -> Result<Secret, DataDirError> {
        let name = secret.file_name();
        if let Some(secret) = self.read_secret(name)? {
            return Ok(secret);
        }
        self.generate_secret(name)?;
        // What stands there now counts: another process may have been faster.
        let made = self.read_secret(name)?;
        made.ok_or_else(|| DataDirError::Damaged(self.path().join(name)))
    }

    /// The keys of nonces, newest first. One that is older than `NONCE_KEY_LIFETIME_SECONDS` is put behind a
    /// new one; nonces live an hour, so no client notices.
    ///
    /// # Errors
    /// As [`DataDir::secret`].
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
        let mut text = String::new();
        let read = file.take(4096).read_to_string(&mut text);
        match (read, text_file::strip_bom(&text).trim()) {
            (Err(reason), _) => Err(DataDirError::File { path, reason }),
            (_, text) if text.len() < SECRET_BYTES => Err(DataDirError::Damaged(path)),
            (_, text) => Ok(Some(Secret::new(text))),
        }
    }

    /// A file that nobody else can have written, or can read from now on.
    fn open_private(&self, name: &str) -> Result<Option<File>, DataDirError> {
        let Some(file) = self.directory.file(name, OFlag::O_RDONLY)? else {
            return Ok(None);
        };
        let path = self.path().join(name);
        let wrong = |reason| DataDirError::File {
            path: path.clone(),
            reason,
        };
        let found = file.metadata().map_err(wrong)?;
        // Files that root keeps in another user's directory are left alone.
        let ours = found.uid() == self.directory.owner || !nix::unistd::geteuid().is_root();
        if found.mode() & 0o077 != 0 && ours {
            tracing::warn!(path = %path.display(), mode = %format!("{:o}", found.mode() & 0o777),
                "a secret was open to other users of this host; it is private now");
            file.set_permissions(Permissions::from_mode(0o600))
                .map_err(wrong)?;
        }
        Ok(Some(file))
    }

    /// Written beside and linked into place whole, so that nobody ever reads half of it.
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
        let mut bytes = [0; SECRET_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = self.directory.create(name)?;
        writeln!(file, "{text}")?;
        file.sync_all()
    }
}

/// Tries for a moment: a command that looks whether it is locked holds it as long as that takes.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            outcome => return outcome,
        }
    }
    file.try_lock()
}

/// The file to lock; created if missing.
fn lock_file(directory: &Directory) -> Result<File, DataDirError> {
    match directory.create(LOCK_FILE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = directory.file(LOCK_FILE, OFlag::O_RDWR)?;
            there.ok_or_else(|| unusable(directory.path(), error))
        }
        made => made.map_err(|reason| unusable(directory.path(), reason)),
    }
}

fn lock(directory: &Directory) -> Result<File, DataDirError> {
    let mut file = lock_file(directory)?;
    let path = directory.path();
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.take(20).read_to_string(&mut holder).is_ok() && !holder.is_empty();
            return Err(DataDirError::InUse {
                path: path.to_owned(),
                owner: match known {
                    true => format!(" (process {})", holder.trim()),
                    false => String::new(),
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

fn unusable(path: &Path, reason: io::Error) -> DataDirError {
    DataDirError::Unusable {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn the_configured_directory_comes_before_systemd_before_xdg_before_home() {
        let configured = Some(Path::new("/conf"));
        let state = || Some(PathBuf::from("/state:/other"));
        let xdg = || Some(PathBuf::from("/xdg"));
        let home = || Some(PathBuf::from("/home/me"));
        let chosen = [
            select(configured, state(), xdg(), home),
            select(None, state(), xdg(), home),
            select(None, None, xdg(), home),
            select(None, None, Some("relative".into()), home),
            select(None, None, None, || None),
        ];
        let chosen = chosen.map(|path| path.map(|path| path.display().to_string()));
        let chosen = chosen
            .each_ref()
            .map(|path| path.as_deref().unwrap_or("nowhere"));
        let default = "/home/me/.local/share/parlor";
        assert_eq!(
            chosen,
            ["/conf", "/state", "/xdg/parlor", default, "nowhere"]
        );
    }

    #[test]
    fn serve_makes_the_directory_for_its_user_alone_and_a_command_does_not() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a/b");
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, DataDirError::Missing(_)), "{error}");
        DataDir::acquire(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_second_serve_is_refused_and_told_by_whom_until_the_first_ends() {
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
    fn a_secret_is_made_once_private_and_of_its_own() {
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
    fn an_old_key_of_nonces_is_replaced_and_still_known() {
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
    fn many_who_make_a_secret_at_once_agree() {
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
    fn a_secret_that_was_open_to_others_is_closed() {
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
    fn a_secret_cut_short_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("auth.secret"), "").unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let error = data_dir.secret(SecretFile::Auth).unwrap_err().to_string();
        assert!(error.contains("auth.secret is damaged"), "{error}");
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for result in [DataDir::acquire(file.path()), DataDir::open(file.path())] {
            let error = result.unwrap_err();
            assert!(matches!(error, DataDirError::NotADirectory(_)), "{error}");
        }
    }

    #[test]
    fn a_new_database_is_private() {
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
