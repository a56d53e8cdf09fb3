//! Receiving by `recvmmsg`.

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::buffer::{Room, STRIDE};
use super::cmsg::{self, CONTROL, Control};
use super::{BATCH, DATAGRAM, Origin, address, zeroed_slice};
use crate::turn::HEADROOM;

/// Slots that datagrams are received into.
pub struct Slots {
    pub room: Room,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers inside the headers are written anew from `self`'s own buffers before
// each system call; what is read through them afterwards is in boxes that `self` keeps in place.
unsafe impl Send for Slots {}

impl Slots {
    pub fn new() -> Slots {
        Slots {
            room: Room::new(),
            addresses: zeroed_slice(),
            controls: vec![Control::EMPTY; BATCH].into_boxed_slice(),
            vectors: zeroed_slice(),
            headers: zeroed_slice(),
        }
    }

    /// Receives what waits on `socket` into `slots`, without blocking. Gives the number of those
    /// that are filled; their origins are read by [`Slots::origin`].
    pub fn receive(&mut self, socket: BorrowedFd<'_>, slots: Range<usize>) -> io::Result<usize> {
        assert!(slots.end <= BATCH);
        let bytes = self.room.as_mut_ptr();
        for index in slots.clone() {
            self.vectors[index] = libc::iovec {
                // SAFETY: `bytes` has BATCH slots of STRIDE, each with room for HEADROOM + DATAGRAM.
                iov_base: unsafe { bytes.add(index * STRIDE + HEADROOM) }.cast(),
                iov_len: DATAGRAM,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.addresses[index]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].as_mut_ptr();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        let headers = &mut self.headers[slots];
        // SAFETY: each of `headers` points at buffers of `self` that live and stay in place until
        // the call returns, with their true lengths.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(received as usize)
    }

    /// Where what is in a slot came from; `None` where the kernel's answer makes no sense.
    pub fn origin(&self, index: usize) -> Option<Origin> {
        let header = &self.headers[index];
        let mut origin = Origin {
            from: address::read(&self.addresses[index])?,
            to: None,
            len: header.msg_len as usize,
            size: header.msg_len as usize,
            mark: 0,
        };
        // SAFETY: `header` was filled by the kernel, and its control pointer still points at
        // `controls[index]`, which `self` keeps in place, with the length that was written.
        for (level, kind, data) in unsafe { cmsg::all(&header.msg_hdr) } {
            origin.to = origin.to.or(cmsg::destination(level, kind, data));
            origin.mark = cmsg::mark(level, kind, data).unwrap_or(origin.mark);
            origin.size = cmsg::segment_size(level, kind, data).unwrap_or(origin.size);
        }
        Some(origin)
    }
}
