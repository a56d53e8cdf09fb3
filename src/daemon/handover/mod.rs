//! Hands over listeners, relay sockets and state to the next process during calls: by the descriptor store of
//! the service manager, or by executing another binary in this process.

mod exec;
mod fd_store;
mod inherited;
mod state;

use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};

pub(super) use exec::Upgrade;
pub(super) use fd_store::FdStore;
pub(super) use inherited::{Inherited, take};
pub(super) use state::{State, boot_id};

use crate::relay;

/// Everything that is handed over to the next process.
pub(super) struct Handover {
    /// The state, in a sealed memory file.
    memory: File,
    tcp: Vec<TcpListener>,
    /// Every UDP socket.
    bundle: relay::DescriptorQueue,
    pub allocations: usize,
    /// Number of UDP sockets that did not fit into the kernel's buffer.
    pub dropped_sockets: usize,
}

impl Handover {
    pub(super) fn new(
        mut state: State,
        stopped: relay::RelayHandover,
        tcp: Vec<(&'static str, TcpListener)>,
    ) -> io::Result<Handover> {
        let allocations = stopped.state.allocations();
        state.relay = stopped.state;
        for (key, listener) in &tcp {
            let inode = relay::inode(listener)?;
            state.listeners.push((inode, (*key).to_owned()));
        }
        let (bundle, dropped_sockets) = relay::send_descriptors(&stopped.sockets)?;
        Ok(Handover {
            memory: sealed(&state.write()?)?,
            tcp: tcp.into_iter().map(|(_, listener)| listener).collect(),
            bundle,
            allocations,
            dropped_sockets,
        })
    }

    /// Returns the descriptors, the most important first.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let memory = [self.memory.as_fd()].into_iter();
        let bundle = self.bundle.iter().map(AsFd::as_fd);
        let tcp = self.tcp.iter().map(AsFd::as_fd);
        memory.chain(bundle).chain(tcp).collect()
    }
}

/// Returns a memory file with these bytes, sealed against changes.
#[cfg(target_os = "linux")]
fn sealed(bytes: &[u8]) -> io::Result<File> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut memory = File::from(memfd_create("parlor-state", flags)?);
    memory.write_all(bytes)?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(memory)
}

#[cfg(not(target_os = "linux"))]
fn sealed(_: &[u8]) -> io::Result<File> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "a hand-over needs Linux",
    ))
}
