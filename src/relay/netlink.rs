//! Lists the addresses of this host by rtnetlink, and watches them for changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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

use crate::turn::{AddressState, HostAddress};

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

const HEADER_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
const LINK_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// Lists every address of every interface.
pub fn list() -> io::Result<Vec<HostAddress>> {
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
pub struct Watch {
    changes: mpsc::Receiver<io::Result<()>>,
    waker: Waker,
}

impl Watch {
    /// Starts a thread that waits for the kernel, until this is dropped.
    pub fn open() -> io::Result<Watch> {
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
    pub async fn changed(&mut self) -> io::Result<()> {
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

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

/// The messages of a datagram, up to the first invalid length.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let whole = rest.get(..len)?;
        let message = Message {
            kind: u16_at(whole, 4)?,
            flags: u16_at(whole, 6)?,
            body: whole.get(HEADER_BYTES..)?,
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind the fixed part of a body.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let whole = rest.get(..len)?;
        let attribute = (u16_at(whole, 2)?, whole.get(ATTRIBUTE_HEADER_BYTES..)?);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(attribute)
    })
}

/// The index of an interface if it is up (`struct ifinfomsg`).
fn link_that_is_up(body: &[u8]) -> Option<u32> {
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    (flags & libc::IFF_UP as u32 != 0).then_some(index)
}

/// An address (`struct ifaddrmsg`) of one of the interfaces that are `up`, or of another.
fn address(body: &[u8], up: &[u32]) -> Option<HostAddress> {
    let (family, interface) = (*body.first()?, u32_at(body, 4)?);
    let mut flags = u32::from(*body.get(2)?);
    let (mut local, mut remote) = (None, None);
    for (kind, value) in attributes(body.get(ADDRESS_BYTES..)?) {
        match kind {
            libc::IFA_LOCAL => local = ip(family, value),
            libc::IFA_ADDRESS => remote = ip(family, value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // On a point-to-point link, IFA_ADDRESS is the remote end.
    let ip = local.or(remote)?;
    let has = |flag: u32| flags & flag != 0;
    let checked = has(libc::IFA_F_OPTIMISTIC) || !has(libc::IFA_F_TENTATIVE);
    let usable = up.contains(&interface) && checked && !has(libc::IFA_F_DADFAILED);
    Some(HostAddress {
        ip,
        interface,
        state: match (usable, has(libc::IFA_F_DEPRECATED)) {
            (false, _) => AddressState::Unusable,
            (true, true) => AddressState::Deprecated,
            (true, false) => AddressState::Preferred,
        },
        // For IPv4, the same bit means a secondary address.
        temporary: ip.is_ipv6() && has(libc::IFA_F_TEMPORARY),
    })
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body of RTM_NEWADDR.
    fn body(family: i32, flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family as u8, 64, flags as u8, 0];
        body.extend(7_u32.to_ne_bytes());
        for (kind, value) in attributes {
            body.extend((ATTRIBUTE_HEADER_BYTES as u16 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    }

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

    #[test]
    fn the_state_of_an_address_follows_from_its_flags_and_its_interface() {
        let ip = Ipv6Addr::from([0x2a00, 0, 0, 0, 0, 0, 0, 1]).octets();
        let state = |flags: u32, up: &[u32]| {
            let flags = flags.to_ne_bytes();
            let attributes = [(libc::IFA_ADDRESS, &ip[..]), (libc::IFA_FLAGS, &flags)];
            address(&body(libc::AF_INET6, 0, &attributes), up)
                .unwrap()
                .state
        };
        for (flags, expected) in [
            (0, AddressState::Preferred),
            (libc::IFA_F_TEMPORARY, AddressState::Preferred),
            (libc::IFA_F_DEPRECATED, AddressState::Deprecated),
            (libc::IFA_F_TENTATIVE, AddressState::Unusable),
            (
                libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC,
                AddressState::Preferred,
            ),
            (
                libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED,
                AddressState::Unusable,
            ),
        ] {
            assert_eq!(state(flags, &[1, 7]), expected, "{flags:x}");
            assert_eq!(
                state(flags, &[1]),
                AddressState::Unusable,
                "its interface is down"
            );
        }
    }

    #[test]
    fn a_point_to_point_link_yields_its_local_address() {
        let (own, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let attributes = [(libc::IFA_ADDRESS, &other[..]), (libc::IFA_LOCAL, &own)];
        let read = address(
            &body(libc::AF_INET, libc::IFA_F_TEMPORARY, &attributes),
            &[7],
        );
        let read = read.unwrap();
        assert_eq!((read.ip, read.interface), (IpAddr::from(own), 7));
        assert!(!read.temporary, "of IPv4 the bit means something else");
    }

    proptest! {
        #[test]
        fn arbitrary_netlink_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                address(message.body, &[1]);
                link_that_is_up(message.body);
            }
            address(&bytes, &[1]);
            link_that_is_up(&bytes);
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
