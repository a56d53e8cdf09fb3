//! Lists the addresses of this host by rtnetlink, and watches them for changes.

mod message;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tokio::sync::mpsc;

use crate::turn::HostAddress;

use message::{HEADER_BYTES, address, link_that_is_up, messages};

/// Size of the read buffer in bytes: the kernel fills at most 32 KiB.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Timeout for the kernel's answer, which is immediate.
const ANSWER_TIMEOUT_SECONDS: i64 = 5;

/// Maximum number of attempts to read a list that changes while it is read.
const LIST_TRIES: usize = 10;

/// Flag: the list has changed while it was read (`NLM_F_DUMP_INTR`).
const INTERRUPTED: u16 = 0x10;

/// Changes that can make another address the best one: those of interfaces, addresses and routes.
const GROUPS: i32 = libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_ROUTE;

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

const LINK_BYTES: usize = 16;

/// Lists every address of every interface.
pub(super) fn list() -> io::Result<Vec<HostAddress>> {
    let links = dump(libc::RTM_GETLINK, libc::RTM_NEWLINK)?;
    let up: Vec<u32> = links
        .iter()
        .filter_map(|body| link_that_is_up(body))
        .collect();
    let addresses = dump(libc::RTM_GETADDR, libc::RTM_NEWADDR)?;
    let addresses = addresses.iter().filter_map(|body| address(body, &up));
    Ok(addresses.collect())
}

/// Notifies when interfaces, addresses or routes change.
pub(super) struct Watch {
    changes: mpsc::Receiver<io::Result<()>>,
    waker: Waker,
}

impl Watch {
    /// Starts a thread that waits for the kernel, until this is dropped.
    pub(super) fn open() -> io::Result<Watch> {
        let socket = open(SockFlag::SOCK_NONBLOCK)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS as u32))?;
        let poll = Poll::new()?;
        let fd = socket.as_raw_fd();
        let mut source = SourceFd(&fd);
        poll.registry()
            .register(&mut source, SOCKET, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        // One pending notification is sufficient.
        let (notifier, changes) = mpsc::channel(1);
        let thread = thread::Builder::new().name("addresses".to_owned());
        thread.spawn(move || {
            if let Err(error) = notify(&socket, poll, &notifier) {
                let _ = notifier.blocking_send(Err(error));
            }
        })?;
        Ok(Watch { changes, waker })
    }

    /// Waits for any number of changes; [`list`] returns the new state.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        let change = self.changes.recv().await;
        change.unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.changes.close();
        // Without this, the thread would end with the next change.
        let _ = self.waker.wake();
    }
}

/// Sends notifications until the receiver is dropped.
fn notify(
    socket: &OwnedFd,
    mut poll: Poll,
    notifier: &mpsc::Sender<io::Result<()>>,
) -> io::Result<()> {
    let mut events = Events::with_capacity(4);
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    while !notifier.is_closed() {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if drain(socket, &mut buffer)? {
            let _ = notifier.try_send(Ok(()));
        }
    }
    Ok(())
}

/// Reads all pending messages, and returns whether there were any.
fn drain(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<bool> {
    let mut changed = false;
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // If the kernel had no space for a message, there was a change as well.
            Ok(_) | Err(Errno::ENOBUFS) => changed = true,
            Err(Errno::EAGAIN) => return Ok(changed),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(flags: SockFlag) -> nix::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    let protocol = SockProtocol::NetlinkRoute;
    socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
}

/// Returns the bodies of all messages of type `answer` to `request`.
fn dump(request: u16, answer: u16) -> io::Result<Vec<Vec<u8>>> {
    for _ in 0..LIST_TRIES {
        if let Some(bodies) = dump_once(request, answer)? {
            return Ok(bodies);
        }
    }
    Err(io::Error::other("the list changes faster than it is read"))
}

/// `None` if the list has changed meanwhile.
fn dump_once(request: u16, answer: u16) -> io::Result<Option<Vec<Vec<u8>>>> {
    let socket = open(SockFlag::empty())?;
    let timeout = TimeVal::seconds(ANSWER_TIMEOUT_SECONDS);
    setsockopt(&socket, ReceiveTimeout, &timeout)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(socket.as_raw_fd(), &request_for(request), MsgFlags::empty())?;
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let (mut bodies, mut whole) = (Vec::new(), true);
    loop {
        let read = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for message in messages(&buffer[..read]) {
            whole &= message.flags & INTERRUPTED == 0;
            match i32::from(message.kind) {
                libc::NLMSG_DONE => return Ok(whole.then_some(bodies)),
                libc::NLMSG_ERROR => return Err(kernel_error(message.body)),
                kind if kind == i32::from(answer) => bodies.push(message.body.to_vec()),
                _ => {}
            }
        }
    }
}

/// A header and the longest body of both requests, which is all zeroes: of every family.
fn request_for(kind: u16) -> [u8; HEADER_BYTES + LINK_BYTES] {
    let mut request = [0; HEADER_BYTES + LINK_BYTES];
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let len = request.len() as u32;
    request[..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request
}

/// The error number in the body of `NLMSG_ERROR`, negated.
fn kernel_error(body: &[u8]) -> io::Error {
    match body.first_chunk() {
        Some(code) => io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)),
        None => io::ErrorKind::InvalidData.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn the_list_contains_loopback_and_equals_getifaddrs() {
        let mut ours: Vec<_> = list().unwrap().iter().map(|address| address.ip).collect();
        assert!(ours.contains(&IpAddr::from([127, 0, 0, 1])), "{ours:?}");
        let mut theirs = Vec::new();
        for interface in nix::ifaddrs::getifaddrs().unwrap() {
            let address = interface.address;
            let v4 = address.and_then(|a| Some(IpAddr::V4(a.as_sockaddr_in()?.ip())));
            let v6 = address.and_then(|a| Some(IpAddr::V6(a.as_sockaddr_in6()?.ip())));
            theirs.extend(v4.or(v6));
        }
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
}
