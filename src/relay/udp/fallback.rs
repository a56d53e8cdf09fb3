//! UDP I/O with one datagram per system call, for systems other than Linux.
//!
//! There are no control messages. Therefore DSCP and ECN are not preserved, and a socket on a wildcard
//! address does not know which local address received a datagram:
//! [`listen_on`](crate::relay::sockets::listen_on) binds no socket there.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto};

use super::buffer::Buffer;
use super::types::{BATCH, MAX_DATAGRAM_BYTES, RecvMeta, Transmit};
use crate::turn::HEADROOM;

/// Receives datagrams into slots.
pub(super) struct Receiver {
    pub buffer: Buffer,
    metas: [Option<RecvMeta>; BATCH],
}

impl Receiver {
    pub(super) fn new() -> Receiver {
        Receiver {
            buffer: Buffer::new(),
            metas: [None; BATCH],
        }
    }

    /// Receives pending datagrams of the nonblocking `socket` into `slots`. Returns the number of
    /// filled slots; [`Receiver::meta`] returns their metadata.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        slots: Range<usize>,
    ) -> io::Result<usize> {
        let first = slots.start;
        for index in slots.clone() {
            let area = &mut self.buffer.slot_mut(index)[HEADROOM..][..MAX_DATAGRAM_BYTES];
            match recvfrom::<SockaddrStorage>(socket.as_raw_fd(), area) {
                Ok((len, from)) => {
                    let from = from.as_ref().and_then(address);
                    self.metas[index] = from.map(|from| RecvMeta {
                        addr: from,
                        dst_ip: None,
                        len,
                        stride: len,
                        tos: 0,
                    });
                }
                Err(error) if index == first => return Err(error.into()),
                // The next call reports the error if it persists.
                Err(_) => return Ok(index - first),
            }
        }
        Ok(slots.len())
    }

    /// The metadata of a slot; `None` if the kernel returned no valid address.
    pub(super) fn meta(&self, index: usize) -> Option<RecvMeta> {
        self.metas[index]
    }
}

/// There is no error queue on this system.
#[cfg(not(target_os = "linux"))]
pub struct ErrorQueue;

#[cfg(not(target_os = "linux"))]
impl ErrorQueue {
    pub fn new() -> ErrorQueue {
        ErrorQueue
    }

    /// Returns the number of errors, which is always 0.
    pub fn receive(&mut self, _: BorrowedFd<'_>, _: impl FnMut(crate::turn::IcmpError)) -> usize {
        0
    }
}

/// Always 0: this system does not report drops.
#[cfg(not(target_os = "linux"))]
pub fn receive_drops(_: &impl std::os::fd::AsFd) -> u64 {
    0
}

/// Sends batches of datagrams.
pub(super) struct Sender;

impl Sender {
    pub(super) fn new(_: bool) -> Sender {
        Sender
    }

    /// Sends up to [`BATCH`] datagrams on `socket`, and returns how many the kernel took.
    ///
    /// Datagrams for one destination are sent in order. A datagram that the kernel refuses does not affect
    /// the others. After the send buffer of the socket is full, the rest of the batch is dropped.
    pub(super) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Transmit<'a>>,
    ) -> usize {
        let mut taken = 0;
        for datagram in datagrams.take(BATCH) {
            let to = SockaddrStorage::from(datagram.destination);
            let send = || {
                sendto(
                    socket.as_raw_fd(),
                    datagram.contents,
                    &to,
                    MsgFlags::MSG_DONTWAIT,
                )
            };
            let mut sent = send();
            while sent == Err(Errno::EINTR) {
                sent = send();
            }
            match sent {
                Ok(_) => taken += 1,
                Err(Errno::EAGAIN) => break,
                Err(_) => {}
            }
        }
        taken
    }
}

#[cfg(not(target_os = "linux"))]
impl Sender {
    /// Sends nothing: this system does not support it, and clients get an error for it
    /// ([`super::SUPPORTS_DONT_FRAGMENT`]).
    pub fn send_dont_fragment<'a>(
        &mut self,
        _: BorrowedFd<'_>,
        _: bool,
        _: impl Iterator<Item = Transmit<'a>>,
    ) -> usize {
        0
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| (*v4).into());
    let v4: Option<SocketAddr> = v4.map(SocketAddr::V4);
    v4.or_else(|| Some(SocketAddr::V6((*storage.as_sockaddr_in6()?).into())))
}
