//! The error queue of a socket: ICMP errors about datagrams that it sent.

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::address;
use super::cmsg::{self, CMSG_BUFFER_BYTES, CmsgBuffer};
use super::types::MAX_ERRORS_PER_READ;
use super::zeroed::Zeroed;
use crate::turn::IcmpError;

/// Reads the error queues of sockets.
pub(crate) struct ErrorQueue {
    addresses: [libc::sockaddr_storage; MAX_ERRORS_PER_READ],
    controls: [CmsgBuffer; MAX_ERRORS_PER_READ],
    headers: [libc::mmsghdr; MAX_ERRORS_PER_READ],
}

// SAFETY: the pointers in the headers are used in `receive` only, which first sets all of them to the
// other fields of the same value.
unsafe impl Send for ErrorQueue {}

impl ErrorQueue {
    pub(crate) fn new() -> ErrorQueue {
        ErrorQueue {
            addresses: [libc::sockaddr_storage::zeroed(); MAX_ERRORS_PER_READ],
            controls: [CmsgBuffer::EMPTY; MAX_ERRORS_PER_READ],
            headers: [libc::mmsghdr::zeroed(); MAX_ERRORS_PER_READ],
        }
    }

    /// Reads up to [`MAX_ERRORS_PER_READ`] errors of `socket`, and returns how many there were. Calls `report`
    /// for each ICMP error.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        mut report: impl FnMut(IcmpError),
    ) -> usize {
        let buffers = self.addresses.iter_mut().zip(&mut self.controls);
        for ((address, control), header) in buffers.zip(&mut self.headers) {
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(address).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            // The contents of the sent datagram are not needed.
            header.msg_iov = ptr::null_mut();
            header.msg_iovlen = 0;
            header.msg_control = control.as_mut_ptr();
            header.msg_controllen = CMSG_BUFFER_BYTES as _;
            header.msg_flags = 0;
        }
        // SAFETY: each header points to fields of `self` with their lengths, and `self` is borrowed
        // until the call returns.
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
            .for_each(&mut report);
        received
    }
}

/// The ICMP error in a filled header, or the equivalent error of the kernel.
fn read(header: &libc::msghdr, to: &libc::sockaddr_storage) -> Option<IcmpError> {
    let peer = address::read(to)?;
    // SAFETY: the kernel has just filled `header`. Its control pointer and length describe the control
    // buffer in the same `ErrorQueue`, which is still borrowed.
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
            // The datagram exceeds the MTU of the first link: no router sent an ICMP error.
            libc::SO_EE_ORIGIN_LOCAL if error.ee_errno == libc::EMSGSIZE as u32 => {
                Some(IcmpError::too_big(peer, error.ee_info))
            }
            _ => None,
        }
    })
}
