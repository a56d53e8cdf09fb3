//! Files below a directory that another user may write to. Root's commands work in the directory of
//! the service's user, who can create links and FIFOs there. So each file is opened relative to the
//! directory's descriptor, without following a link and without blocking, and is checked before use.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, linkat, unlinkat};

use super::DataDirError;

/// Read and write for the owner alone.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: File,
    pub owner: u32,
    group: u32,
}

impl Directory {
    /// Opens the directory at a path, through links: the caller chose the path.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let handle = File::from(open(path, flags, Mode::empty())?);
        let found = handle.metadata()?;
        Ok(Directory {
            path: path.to_owned(),
            handle,
            owner: found.uid(),
            group: found.gid(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's path without links, for callers that need a path.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        let by_descriptor = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        let real = fs::read_link(by_descriptor).or_else(|_| fs::canonicalize(&self.path))?;
        let (found, own) = (fs::symlink_metadata(&real)?, self.handle.metadata()?);
        match (found.dev(), found.ino()) == (own.dev(), own.ino()) {
            true => Ok(real),
            false => Err(io::Error::other("the directory was moved or removed")),
        }
    }

    /// Another handle on the same directory.
    pub fn try_clone(&self) -> io::Result<Directory> {
        Ok(Directory {
            path: self.path.clone(),
            handle: self.handle.try_clone()?,
            ..*self
        })
    }

    /// Opens an existing file; `None` if there is none.
    ///
    /// # Errors
    /// The file can't be opened, or is not a file of parlor or root: a link, a FIFO, another user's file.
    pub fn file(&self, name: &str, access: OFlag) -> Result<Option<File>, DataDirError> {
        // Do not block on a FIFO without a writer.
        let flags =
            access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(self.open_error(name, error)),
        };
        let found = fstat(&file).map_err(|error| self.file_error(name, error))?;
        self.check_status(name, &found)?;
        Ok(Some(file))
    }

    /// Checks a file that is later opened by its path; returns whether it exists.
    ///
    /// # Errors
    /// As [`Directory::file`].
    pub fn check(&self, name: &str) -> Result<bool, DataDirError> {
        match self.status(name) {
            Ok(found) => self.check_status(name, &found).map(|()| true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(self.file_error(name, error)),
        }
    }

    /// The status of a name itself, without following a link.
    pub fn status(&self, name: &str) -> nix::Result<FileStat> {
        fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Creates a file with mode 0600 that belongs to the directory's owner.
    ///
    /// # Errors
    /// A file of that name exists, or the file can't be created.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.handle, name, flags, PRIVATE)?);
        // Only this process can have created the file of this descriptor.
        if geteuid().is_root() && self.owner != 0 {
            let (owner, group) = (Uid::from_raw(self.owner), Gid::from_raw(self.group));
            fchown(&file, Some(owner), Some(group))?;
        }
        Ok(file)
    }

    /// Renames a file, and replaces an existing file of the new name.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Gives a file a second name; fails if the name exists.
    pub fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let no_links = AtFlags::empty();
        Ok(linkat(&self.handle, from, &self.handle, to, no_links)?)
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Syncs the directory's names to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Whether a file may be used as one of parlor's.
    fn check_status(&self, name: &str, found: &FileStat) -> Result<(), DataDirError> {
        let path = self.path.join(name);
        if let Some(kind) = special_file_kind(found) {
            return Err(DataDirError::NotAFile { path, kind });
        }
        let (me, owner) = (geteuid().as_raw(), found.st_uid);
        // Linux prevents hard links to other users' files, unless `fs.protected_hardlinks` is off.
        if me == 0 && owner != self.owner && found.st_nlink > 1 {
            let kind = "a hard link";
            return Err(DataDirError::NotAFile { path, kind });
        }
        match [0, me, self.owner].contains(&owner) {
            true => Ok(()),
            false => Err(self.foreign_owner(name, owner)),
        }
    }

    /// The reason why a file can't be opened.
    fn open_error(&self, name: &str, error: Errno) -> DataDirError {
        let Ok(found) = self.status(name) else {
            return self.file_error(name, error);
        };
        if let Some(kind) = special_file_kind(&found) {
            let path = self.path.join(name);
            return DataDirError::NotAFile { path, kind };
        }
        match error {
            Errno::EACCES if found.st_uid != self.owner => self.foreign_owner(name, found.st_uid),
            error => self.file_error(name, error),
        }
    }

    fn foreign_owner(&self, name: &str, owner: u32) -> DataDirError {
        DataDirError::ForeignOwner {
            path: self.path.join(name),
            owner,
            wanted: self.owner,
        }
    }

    fn file_error(&self, name: &str, error: Errno) -> DataDirError {
        DataDirError::File {
            path: self.path.join(name),
            reason: error.into(),
        }
    }
}

/// The type of an entry that is not a regular file.
fn special_file_kind(found: &FileStat) -> Option<&'static str> {
    let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
    match kind {
        SFlag::S_IFREG => None,
        SFlag::S_IFLNK => Some("a symbolic link"),
        SFlag::S_IFIFO => Some("a FIFO"),
        SFlag::S_IFSOCK => Some("a socket"),
        SFlag::S_IFDIR => Some("a directory"),
        _ => Some("a device"),
    }
}

/// Creates a directory and its parents, mode 0700. Each belongs to the owner of its parent.
pub fn create_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    create_private(above)?;
    let made = as_owner_of(above, || DirBuilder::new().mode(0o700).create(path))?;
    match made {
        // Another process has created it meanwhile.
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}

/// Runs a function with the identity of a directory's owner if this process is root and the owner is not.
/// New files belong to the owner, and the function has only the owner's permissions.
///
/// # Errors
/// The directory does not exist.
pub fn as_owner_of<T>(directory: &Path, work: impl FnOnce() -> T) -> io::Result<T> {
    let found = directory.metadata()?;
    let _identity = (geteuid().is_root() && found.uid() != 0).then(|| FsIdentityGuard::new(&found));
    Ok(work())
}

/// This thread's identity for file systems (setfsuid(2)), until it is dropped.
struct FsIdentityGuard {
    #[cfg(target_os = "linux")]
    before: (Uid, Gid),
}

#[cfg(target_os = "linux")]
impl FsIdentityGuard {
    fn new(wanted: &fs::Metadata) -> FsIdentityGuard {
        use nix::unistd::{setfsgid, setfsuid};
        let group = setfsgid(Gid::from_raw(wanted.gid()));
        let user = setfsuid(Uid::from_raw(wanted.uid()));
        FsIdentityGuard {
            before: (user, group),
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for FsIdentityGuard {
    fn drop(&mut self) {
        nix::unistd::setfsuid(self.before.0);
        nix::unistd::setfsgid(self.before.1);
    }
}

#[cfg(not(target_os = "linux"))]
impl FsIdentityGuard {
    fn new(_: &fs::Metadata) -> FsIdentityGuard {
        FsIdentityGuard {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::mkfifo;

    use super::*;
    use crate::data_dir::{DataDir, SecretFile};
    use crate::secret::Secret;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    /// A directory, and a file outside it that must stay unchanged.
    struct Fixture {
        place: tempfile::TempDir,
        outside: PathBuf,
    }

    impl Fixture {
        fn new() -> Fixture {
            let place = tempfile::tempdir().unwrap();
            let outside = place.path().join("outside");
            fs::create_dir(place.path().join("data")).unwrap();
            fs::write(&outside, SECRET).unwrap();
            fs::set_permissions(&outside, fs::Permissions::from_mode(0o4755)).unwrap();
            Fixture { place, outside }
        }

        fn data(&self) -> PathBuf {
            self.place.path().join("data")
        }

        /// Asserts that an entry planted under a name is rejected, and that the file outside is unchanged.
        fn refuses(&self, name: &str, used: impl Fn(&DataDir) -> Result<(), DataDirError>) {
            let path = self.data().join(name);
            let planted: [(&str, &dyn Fn()); 4] = [
                ("a symbolic link", &|| {
                    symlink(&self.outside, &path).unwrap()
                }),
                ("a symbolic link", &|| symlink("/nowhere", &path).unwrap()),
                ("a FIFO", &|| mkfifo(&path, PRIVATE).unwrap()),
                ("a directory", &|| fs::create_dir(&path).unwrap()),
            ];
            for (kind, plant) in planted {
                plant();
                let data_dir = DataDir::open(&self.data()).unwrap();
                let told = used(&data_dir).unwrap_err().to_string();
                assert!(told.contains(name) && told.contains(kind), "{told}");
                let (file, directory) = (fs::remove_file(&path), fs::remove_dir(&path));
                file.or(directory).unwrap();
            }
            assert_eq!(fs::read_to_string(&self.outside).unwrap(), SECRET);
            assert_eq!(self.outside.metadata().unwrap().mode() & 0o7777, 0o4755);
        }
    }

    #[test]
    fn nothing_that_is_planted_in_the_directory_is_followed_or_waited_for() {
        let fixture = Fixture::new();
        let secret = |kept| move |dir: &DataDir| dir.secret(kept).map(drop);
        fixture.refuses("auth.secret", secret(SecretFile::Auth));
        fixture.refuses("turn.secret", secret(SecretFile::Turn));
        fixture.refuses("nonce.previous", |dir| dir.nonce_keys(0).map(drop));
        fixture.refuses("self-signed.pem", |dir| {
            dir.read_file("self-signed.pem").map(drop)
        });
        fixture.refuses("parlor.lock", |dir| DataDir::acquire(dir.path()).map(drop));
        for name in [
            "parlor.db",
            "parlor.db-wal",
            "parlor.db-shm",
            "parlor.db-journal",
        ] {
            fixture.refuses(name, |dir| dir.database_path().map(drop));
        }
    }

    #[test]
    fn a_link_is_replaced_by_what_is_kept_and_not_written_through() {
        let fixture = Fixture::new();
        symlink(&fixture.outside, fixture.data().join("made.pem")).unwrap();
        let dir = DataDir::open(&fixture.data()).unwrap();
        dir.write_file("made.pem", &Secret::new("text")).unwrap();
        assert_eq!(
            dir.read_file("made.pem").unwrap(),
            Some(Secret::new("text"))
        );
        assert_eq!(fs::read_to_string(&fixture.outside).unwrap(), SECRET);
    }

    #[test]
    fn root_gives_away_what_it_makes_and_nothing_that_was_there() {
        if !geteuid().is_root() {
            eprintln!("left out: only root can make files for somebody else");
            return;
        }
        const OWNER: u32 = 65_534;
        let fixture = Fixture::new();
        let data = fixture.data();
        std::os::unix::fs::chown(&data, Some(OWNER), Some(OWNER)).unwrap();
        fs::hard_link(&fixture.outside, data.join("turn.secret")).unwrap();
        let dir = DataDir::acquire(&data.join("made/here")).unwrap();
        dir.secret(SecretFile::Auth).unwrap();
        dir.write_file("made.pem", &Secret::new("text")).unwrap();
        dir.database_path().unwrap();
        let made = fs::read_dir(dir.path()).unwrap();
        let made: Vec<_> = made.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(made.len(), 4, "{made:?}");
        for path in made
            .iter()
            .chain([&data.join("made"), &data.join("made/here")])
        {
            let found = path.metadata().unwrap();
            assert_eq!((found.uid(), found.gid()), (OWNER, OWNER), "{path:?}");
        }
        let dir = DataDir::open(&data).unwrap();
        let told = dir.secret(SecretFile::Turn).unwrap_err().to_string();
        assert!(told.contains("a hard link"), "{told}");
        let found = fixture.outside.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o4755));
        // Root's own files are accepted.
        fs::write(data.join("auth.secret"), SECRET).unwrap();
        dir.secret(SecretFile::Auth).unwrap();
        let found = data.join("auth.secret").metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o644));
        // A file that belongs neither to root nor to the directory's owner.
        std::os::unix::fs::chown(data.join("auth.secret"), Some(1), None).unwrap();
        let told = dir.secret(SecretFile::Auth).unwrap_err().to_string();
        assert!(
            told.contains("belongs to user 1") && told.contains("chown 65534"),
            "{told}"
        );
    }
}
