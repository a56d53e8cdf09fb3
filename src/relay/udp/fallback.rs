//! One datagram at a time, for systems other than Linux.
//!
//! It knows no control messages. So DSCP and ECN are not carried along, and a socket on a wildcard
//! address cannot tell which address was asked, nor answer from it:
//! [`listen_on`](crate::relay::sockets::listen_on) has none bound there.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto};

use super::buffer::Buffer;
use super::{BATCH, MAX_DATAGRAM_BYTES, RecvMeta, Transmit};
use crate::turn::HEADROOM;

/// Slots that datagrams are received into.
pub struct Receiver {
    pub buffer: Buffer,
    metas: [Option<RecvMeta>; BATCH],
}

impl Receiver {
    pub fn new() -> Receiver {
        Receiver {
            buffer: Buffer::new(),
            metas: [None; BATCH],
        }
    }

    /// Receives what waits on `socket`, which does not block, into `slots`. Gives the number of
    /// those that are filled; their metadata is read by [`Receiver::meta`].
    pub fn receive(&mut self, socket: BorrowedFd<'_>, slots: Range<usize>) -> io::Result<usize> {
        let first = slots.start;
        for index in slots.clone() {
            let place = &mut self.buffer.slot_mut(index)[HEADROOM..][..MAX_DATAGRAM_BYTES];
            match recvfrom::<SockaddrStorage>(socket.as_raw_fd(), place) {
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
                // It is told the next time, unless it has passed.
                Err(_) => return Ok(index - first),
            }
        }
        Ok(slots.len())
    }

    /// Where the datagram in a slot came from; `None` where the kernel's answer makes no sense.
    pub fn meta(&self, index: usize) -> Option<RecvMeta> {
        self.metas[index]
    }
}

/// Without control messages, there is no queue of errors.
#[cfg(not(target_os = "linux"))]
pub struct ErrorQueue;

#[cfg(not(target_os = "linux"))]
impl ErrorQueue {
    pub fn new() -> ErrorQueue {
        ErrorQueue
    }

    /// Gives how many there were: none.
    pub fn receive(&mut self, _: BorrowedFd<'_>, _: impl FnMut(crate::turn::IcmpError)) -> usize {
        0
    }
}

/// This system does not report drops.
#[cfg(not(target_os = "linux"))]
pub fn receive_drops(_: &impl std::os::fd::AsFd) -> u64 {
    0
}

/// Sends batches.
pub struct Sender;

impl Sender {
    pub fn new(_: bool) -> Sender {
        Sender
    }

    /// Sends up to [`BATCH`] datagrams on `socket` and gives the number that the kernel took.
    ///
    /// What goes to one destination leaves in order. A datagram that the kernel refuses costs only
    /// itself; when the socket's buffer is full, what is left is lost.
    pub fn send<'a>(
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
    /// For datagrams that may not be cut into fragments: nobody is promised that
    /// ([`super::SUPPORTS_DONT_FRAGMENT`]), and none leaves.
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
