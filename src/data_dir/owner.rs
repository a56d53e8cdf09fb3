//! Work with the identity of a directory's owner: commands of root must not leave files of root.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, geteuid};

/// Creates a directory and its parents, mode 0700. Each belongs to the owner of its parent.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
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
