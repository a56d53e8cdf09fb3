//! Files below a directory that another user may write to. Root's commands work in the directory of
//! the service's user, who can create links and FIFOs there. So each file is opened relative to the
//! directory's descriptor, without following a link and without blocking, and is checked before use.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, linkat, unlinkat};

use super::error::DataDirError;

/// Read and write for the owner alone.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
    pub owner: u32,
    group: u32,
}

impl Directory {
    /// Opens the directory at a path, through links: the caller chose the path.
    pub(super) fn open(path: &Path) -> io::Result<Directory> {
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

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's path without links, for callers that need a path.
    pub(super) fn real_path(&self) -> io::Result<PathBuf> {
        let by_descriptor = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        let real = fs::read_link(by_descriptor).or_else(|_| fs::canonicalize(&self.path))?;
        let (found, own) = (fs::symlink_metadata(&real)?, self.handle.metadata()?);
        if (found.dev(), found.ino()) == (own.dev(), own.ino()) {
            Ok(real)
        } else {
            Err(io::Error::other("the directory was moved or removed"))
        }
    }

    /// Another handle on the same directory.
    pub(super) fn try_clone(&self) -> io::Result<Directory> {
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
    pub(super) fn file(&self, name: &str, access: OFlag) -> Result<Option<File>, DataDirError> {
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
    pub(super) fn check(&self, name: &str) -> Result<bool, DataDirError> {
        match self.status(name) {
            Ok(found) => self.check_status(name, &found).map(|()| true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(self.file_error(name, error)),
        }
    }

    /// The status of a name itself, without following a link.
    pub(super) fn status(&self, name: &str) -> nix::Result<FileStat> {
        fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Creates a file with mode 0600 that belongs to the directory's owner.
    ///
    /// # Errors
    /// A file of that name exists, or the file can't be created.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
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
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Gives a file a second name; fails if the name exists.
    pub(super) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let no_links = AtFlags::empty();
        Ok(linkat(&self.handle, from, &self.handle, to, no_links)?)
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Syncs the directory's names to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
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
        if [0, me, self.owner].contains(&owner) {
            Ok(())
        } else {
            Err(self.foreign_owner(name, owner))
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
