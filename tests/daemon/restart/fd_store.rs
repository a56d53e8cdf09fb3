//! Plays systemd for a service with `FileDescriptorStoreMax=`: reads its notifications, stores their
//! descriptors, and passes them to the next process.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::cmsg_space;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tempfile::TempDir;

use crate::support::{Builder, DEADLINE};

/// The first number of stored descriptors, which are consecutive and inheritable.
const FIRST: RawFd = 3000;

/// Serialises tests: a process that is started by another test would inherit the descriptors.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct FdStore {
    folder: TempDir,
    capacity: usize,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The descriptors of the socket unit, which are never removed, come first.
    descriptors: Mutex<Vec<RawFd>>,
    of_unit: usize,
    changed: Condvar,
}

impl FdStore {
    /// A store with this capacity.
    pub(super) fn new(capacity: usize) -> FdStore {
        FdStore::with_sockets(capacity, &[])
    }

    /// A store with this capacity, and a socket unit with these listeners.
    pub(super) fn with_sockets(capacity: usize, sockets: &[TcpListener]) -> FdStore {
        parlor::relay::descriptor_limit::raise_descriptor_limit();
        let folder = TempDir::new().expect("a temporary directory");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        let kept = Arc::new(Kept {
            of_unit: sockets.len(),
            ..Kept::default()
        });
        for (wanted, socket) in (FIRST..).zip(sockets) {
            assert_eq!(fcntl(socket, FcntlArg::F_DUPFD(wanted)), Ok(wanted));
            kept.descriptors.lock().unwrap().push(wanted);
        }
        let keeping = kept.clone();
        thread::spawn(move || while keep(&socket, &keeping).is_some() {});
        FdStore {
            folder,
            capacity,
            kept,
        }
    }

    pub(super) fn manages(&self, builder: Builder) -> Builder {
        let socket = self.folder.path().join("notify");
        builder
            .env("NOTIFY_SOCKET", socket.to_str().expect("a path"))
            .env("FDSTORE", &self.capacity.to_string())
    }

    /// Lets a process start with the stored descriptors.
    pub(super) fn hands_out(&self, builder: Builder) -> Builder {
        let mut env = HashMap::new();
        self.hand_out(&mut env);
        let pairs = env.iter();
        pairs.fold(builder, |builder, (key, value)| builder.env(key, value))
    }

    /// Adds the stored descriptors to the environment of the next process.
    pub(super) fn hand_out(&self, env: &mut HashMap<String, String>) {
        let count = self.kept.descriptors.lock().unwrap().len();
        env.insert("LISTEN_FDS".into(), count.to_string());
        env.insert("LISTEN_FDS_FIRST_FD".into(), FIRST.to_string());
    }

    /// The number of stored descriptors.
    pub(super) fn keeps(&self) -> usize {
        self.kept.descriptors.lock().unwrap().len()
    }

    /// Waits until the store is empty.
    pub(super) fn wait_until_empty(&self) {
        let kept = self.kept.descriptors.lock().unwrap();
        let waited = self
            .kept
            .changed
            .wait_timeout_while(kept, DEADLINE, |kept| kept.len() > self.kept.of_unit);
        assert!(
            !waited.unwrap().1.timed_out(),
            "no FDSTOREREMOVE notification"
        );
    }

    /// Replaces the first descriptor, which holds the state.
    pub(super) fn replace_state(&self, state: &impl std::os::fd::AsFd) {
        nix::unistd::close(FIRST).expect("it was open");
        assert_eq!(fcntl(state, FcntlArg::F_DUPFD(FIRST)), Ok(FIRST));
    }
}

impl Drop for FdStore {
    fn drop(&mut self) {
        forget(&self.kept, 0);
    }
}

/// Reads one notification; nothing if the socket is closed.
fn keep(socket: &UnixDatagram, kept: &Kept) -> Option<()> {
    let mut text = [0; 4096];
    let mut control = cmsg_space!([RawFd; 253]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags).ok()?;
    assert!(
        !message.flags.contains(MsgFlags::MSG_CTRUNC),
        "more than 253 descriptors"
    );
    let (mut arrived, length) = (Vec::new(), message.bytes);
    for one in message.cmsgs().expect("control messages") {
        if let ControlMessageOwned::ScmRights(descriptors) = one {
            arrived.extend(descriptors);
        }
    }
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let says = |line: &str| text.lines().any(|one| one == line);
    if says("FDSTORE=1") {
        assert!(says("FDNAME=parlor") && says("FDPOLL=0"), "{text}");
        store(kept, &arrived);
    } else if says("FDSTOREREMOVE=1") {
        assert!(says("FDNAME=parlor"), "{text}");
        forget(kept, kept.of_unit);
    } else if says("BARRIER=1") {
        assert_eq!(
            (text.lines().count(), arrived.len()),
            (1, 1),
            "alone, with a pipe"
        );
    }
    for descriptor in arrived {
        nix::unistd::close(descriptor).expect("it has just arrived");
    }
    Some(())
}

fn store(kept: &Kept, arrived: &[RawFd]) {
    let mut held = kept.descriptors.lock().unwrap();
    for descriptor in arrived {
        let wanted = FIRST + held.len() as RawFd;
        assert_eq!(duplicate(*descriptor, wanted), wanted, "a number is taken");
        held.push(wanted);
    }
    kept.changed.notify_all();
}

/// Duplicates a descriptor to this number.
#[allow(unsafe_code)]
fn duplicate(descriptor: RawFd, wanted: RawFd) -> RawFd {
    // SAFETY: the descriptor was received in a message, and is closed only after this call.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    fcntl(borrowed, FcntlArg::F_DUPFD(wanted)).expect("a descriptor is left")
}

/// Closes all but the first.
fn forget(kept: &Kept, first: usize) {
    for descriptor in kept.descriptors.lock().unwrap().drain(first..) {
        nix::unistd::close(descriptor).expect("it was kept");
    }
    kept.changed.notify_all();
}
