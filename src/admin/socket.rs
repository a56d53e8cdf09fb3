//! The path of the admin socket, and how it is bound and connected to.

use std::env;
use std::fs;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod};
#[cfg(target_os = "linux")]
use nix::sys::stat::{SFlag, fstat};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;

use crate::data_dir::as_owner_of;

/// Name of the socket in its directory.
const FILE_NAME: &str = "parlor.sock";
/// Maximum length of a path in `sockaddr_un`, without the final zero byte.
const MAX_PATH_BYTES: usize = 107;
/// Backlog of listen(2).
const LISTEN_BACKLOG: i32 = 64;

/// The admin socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(
        "the path of the admin socket, {0}, is longer than the maximum of {MAX_PATH_BYTES} bytes: set admin.socket to a shorter path"
    )]
    TooLong(PathBuf),
    #[error("another process listens at {0}: stop it, or set admin.socket to another path")]
    InUse(PathBuf),
    #[error("{0} exists and is not an admin socket: move it, or set admin.socket to another path")]
    PathOccupied(PathBuf),
    #[error("the admin socket {path} can't be created: {reason}; set admin.socket to another path")]
    Unusable { path: PathBuf, reason: io::Error },
}

/// Returns the path of a server's socket: `admin.socket`, else in `$RUNTIME_DIRECTORY`, else in the data
/// directory.
pub(super) fn server_path(configured: Option<&Path>, data_dir: &Path) -> PathBuf {
    let own = || runtime_dir_path().unwrap_or_else(|| path_in(data_dir));
    configured.map_or_else(own, Path::to_owned)
}

/// Returns the path of the socket in the first directory of `$RUNTIME_DIRECTORY`, which systemd sets.
pub(super) fn runtime_dir_path() -> Option<PathBuf> {
    let directories = env::var_os("RUNTIME_DIRECTORY").filter(|value| !value.is_empty())?;
    let first = env::split_paths(&directories).next()?;
    Some(path_in(&first))
}

pub(super) fn path_in(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

/// Binds the socket with access for this user and root only, and replaces the socket of a server that
/// has ended. The caller must hold the lock of the data directory.
///
/// # Errors
/// A process listens at the path, or the socket can't be created.
pub(super) fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    if path.as_os_str().len() > MAX_PATH_BYTES {
        return Err(SocketError::TooLong(path.to_owned()));
    }
    remove_stale(path)?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // A socket that root leaves behind after a crash must not block the directory's owner.
    let bound = as_owner_of(directory, || listen(path)).and_then(|bound| bound);
    bound.map_err(|reason| SocketError::Unusable {
        path: path.to_owned(),
        reason,
    })
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Set before bind(2), so that the socket is never accessible to others: Linux copies the mode to
    // the new file.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connects to a socket without following a symbolic link: root's commands use directories of other users.
///
/// # Errors
/// There is no socket at this path, no process listens on it, or this user lacks permission.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    #[cfg(target_os = "linux")]
    if let Some(fd) = open_without_following(path)? {
        return UnixStream::connect(format!("/proc/self/fd/{}", fd.as_raw_fd())).await;
    }
    UnixStream::connect(path).await
}

/// Keeps a descriptor of the socket, so that the checked socket is the one used; `None` if `/proc`
/// cannot resolve it.
#[cfg(target_os = "linux")]
fn open_without_following(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let held = open(path, flags, Mode::empty())?;
    let kind = SFlag::from_bits_truncate(fstat(&held)?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFSOCK {
        return Err(io::Error::other("it is not a socket"));
    }
    Ok(Path::new("/proc/self/fd").exists().then_some(held))
}

/// Removes a socket without a listening process.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let unusable = |reason| SocketError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(unusable)?,
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::PathOccupied(path.to_owned()));
    }
    match try_connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(unusable)
        }
        // A process listens, but its accept queue is full.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(SocketError::InUse(path.to_owned()))
        }
        Ok(()) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(SocketError::PathOccupied(path.to_owned()))
        }
        Err(error) => Err(unusable(error)),
    }
}

/// Connects without blocking.
fn try_connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_socket_is_private_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_in(dir.path());
        for _ in 0..2 {
            let listener = bind(&path).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
            drop(listener);
            assert!(path.exists());
        }
    }

    #[test]
    fn binding_does_not_block_on_a_listener_with_a_full_queue() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_in(dir.path());
        let stopped = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        stopped.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        stopped.listen(0).unwrap();
        let waiting = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let connected = socket.connect(&SockAddr::unix(&path).unwrap());
            connected.is_ok().then_some(socket)
        };
        let _queue: Vec<_> = std::iter::from_fn(waiting).collect();
        assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_symbolic_link_to_a_socket_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_in(dir.path());
        let listener = bind(&path).unwrap();
        connect(&path).await.unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = connect(&link).await.unwrap_err();
        assert_eq!(error.to_string(), "it is not a socket");
        drop(listener);
        let error = connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_file_that_is_not_a_socket_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_in(dir.path());
        fs::write(&path, "kept").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::PathOccupied(_))));
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn a_path_longer_than_the_kernels_limit_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let fitting = MAX_PATH_BYTES - dir.path().as_os_str().len() - 1;
        bind(&dir.path().join("s".repeat(fitting))).unwrap();
        let error = bind(&dir.path().join("s".repeat(fitting + 1))).unwrap_err();
        assert!(error.to_string().contains("admin.socket"), "{error}");
    }
}
