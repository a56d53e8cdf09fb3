//! What the network says of datagrams that were sent: the error queue of a socket.

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::cmsg::{self, CMSG_BUFFER_BYTES, CmsgBuffer};
use super::{MAX_ERRORS_PER_READ, address};
use crate::turn::IcmpError;

/// Receives from error queues.
pub struct ErrorQueue {
    addresses: [libc::sockaddr_storage; MAX_ERRORS_PER_READ],
    controls: [CmsgBuffer; MAX_ERRORS_PER_READ],
    headers: [libc::mmsghdr; MAX_ERRORS_PER_READ],
}

// SAFETY: the raw pointers inside the headers are written anew from `self`'s own buffers before
// each system call, and nothing is read through them outside of it but by the call that wrote them.
unsafe impl Send for ErrorQueue {}

impl ErrorQueue {
    pub fn new() -> ErrorQueue {
        // SAFETY: plain C structs of the socket API, for which all zeroes is valid.
        let (address, header) = unsafe { (mem::zeroed(), mem::zeroed()) };
        ErrorQueue {
            addresses: [address; MAX_ERRORS_PER_READ],
            controls: [CmsgBuffer::EMPTY; MAX_ERRORS_PER_READ],
            headers: [header; MAX_ERRORS_PER_READ],
        }
    }

    /// Takes up to [`MAX_ERRORS_PER_READ`] from the queue of `socket`. Gives how many there were, and each that
    /// is ICMP's, or that the kernel has where it would be ICMP's, to `tell`.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, mut tell: impl FnMut(IcmpError)) -> usize {
        let places = self.addresses.iter_mut().zip(&mut self.controls);
        for ((address, control), header) in places.zip(&mut self.headers) {
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(address).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            // What was sent is of no interest.
            header.msg_iov = ptr::null_mut();
            header.msg_iovlen = 0;
            header.msg_control = control.as_mut_ptr();
            header.msg_controllen = CMSG_BUFFER_BYTES as _;
            header.msg_flags = 0;
        }
        // SAFETY: each header points at buffers of `self` that live and stay in place until the
        // call returns, with their true lengths.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                MAX_ERRORS_PER_READ as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE) as _,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).unwrap_or(0);
        let filled = self.headers.iter().zip(&self.addresses).take(received);
        filled
            .filter_map(|(header, to)| read(&header.msg_hdr, to))
            .for_each(&mut tell);
        received
    }
}

/// What the kernel left in a header: one whose pointers still point where it wrote.
fn read(header: &libc::msghdr, to: &libc::sockaddr_storage) -> Option<IcmpError> {
    let peer = address::read(to)?;
    // SAFETY: `header` was filled by the kernel just now, and its control pointer points at bytes
    // that live in the same `ErrorQueue`, with the length that was written.
    let mut messages = unsafe { cmsg::messages(header) };
    messages.find_map(|(level, kind, data)| {
        let error = cmsg::error(level, kind, data)?;
        match error.ee_origin {
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => Some(IcmpError {
                peer,
                kind: error.ee_type,
                code: error.ee_code,
                mtu: error.ee_info,
            }),
            // Too large for the first link already.
            libc::SO_EE_ORIGIN_LOCAL if error.ee_errno == libc::EMSGSIZE as u32 => {
                Some(IcmpError::too_big(peer, error.ee_info))
            }
            _ => None,
        }
    })
}
