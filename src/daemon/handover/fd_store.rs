//! The descriptor store of systemd (`FileDescriptorStoreMax=`): it keeps descriptors open after this process
//! has ended, and passes them to the next one.

use std::env;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::Handover;
use crate::daemon::notify::NotifySocket;
use crate::relay::MAX_DESCRIPTORS_PER_MESSAGE;

/// One name for all descriptors: their kind is detected later. Without FDPOLL=0 systemd would discard a
/// socket with a pending error.
const STORE_MESSAGE: &str = "FDSTORE=1\nFDNAME=parlor\nFDPOLL=0";
const REMOVE_MESSAGE: &str = "FDSTOREREMOVE=1\nFDNAME=parlor";

/// Timeout for the service manager to read all messages.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(20);

/// The descriptor store of a service manager.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FdStore {
    socket: NotifySocket,
    capacity: usize,
}

impl FdStore {
    /// Returns the store of this process, if the service manager provides one.
    pub(crate) fn of_process() -> Option<FdStore> {
        let socket = NotifySocket::of_process().ok().flatten()?;
        let capacity = env::var("FDSTORE").ok()?.parse().ok()?;
        (capacity > 0).then_some(FdStore { socket, capacity })
    }

    /// Stores the descriptors and waits until the service manager has them. Returns the number of
    /// descriptors that did not fit; they are closed with this process.
    pub(crate) fn store(self, handover: &Handover) -> io::Result<usize> {
        let descriptors = handover.descriptors();
        let (kept, left) = descriptors.split_at(descriptors.len().min(self.capacity));
        for some in kept.chunks(MAX_DESCRIPTORS_PER_MESSAGE) {
            self.socket.notify_with_fds(STORE_MESSAGE, some)?;
        }
        self.barrier()?;
        Ok(left.len())
    }

    /// Removes the restored descriptors from the store.
    pub(crate) fn clear(self) -> io::Result<()> {
        self.socket.notify(REMOVE_MESSAGE)
    }

    /// Waits until the service manager has read all messages: it may reject descriptors that are in
    /// flight when their sender ends.
    fn barrier(self) -> io::Result<()> {
        let (mut ours, theirs) = io::pipe()?;
        self.socket
            .notify_with_fds("BARRIER=1", &[theirs.as_fd()])?;
        drop(theirs);
        let (done, closed) = mpsc::channel();
        thread::spawn(move || done.send(ours.read(&mut [0])));
        match closed.recv_timeout(BARRIER_TIMEOUT) {
            Ok(read) => read.map(|_| ()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
