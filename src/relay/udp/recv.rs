//! Receiving by `recvmmsg`.

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::buffer::{Buffer, SLOT_STRIDE_BYTES};
use super::cmsg::{self, CMSG_BUFFER_BYTES, CmsgBuffer};
use super::{BATCH, MAX_DATAGRAM_BYTES, RecvMeta, address, zeroed_slice};
use crate::turn::HEADROOM;

/// Slots that datagrams are received into.
pub struct Receiver {
    pub buffer: Buffer,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[CmsgBuffer]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers inside the headers are written anew from `self`'s own buffers before
// each system call; what is read through them afterwards is in boxes that `self` keeps in place.
unsafe impl Send for Receiver {}

impl Receiver {
    pub fn new() -> Receiver {
        Receiver {
            buffer: Buffer::new(),
            addresses: zeroed_slice(),
            controls: vec![CmsgBuffer::EMPTY; BATCH].into_boxed_slice(),
            vectors: zeroed_slice(),
            headers: zeroed_slice(),
        }
    }

    /// Receives what waits on `socket` into `slots`, without blocking. Gives the number of those
    /// that are filled; their metadata is read by [`Receiver::meta`].
    pub fn receive(&mut self, socket: BorrowedFd<'_>, slots: Range<usize>) -> io::Result<usize> {
        assert!(slots.end <= BATCH);
        let bytes = self.buffer.as_mut_ptr();
        for index in slots.clone() {
            self.vectors[index] = libc::iovec {
                // SAFETY: `bytes` has BATCH slots of SLOT_STRIDE_BYTES, each with room for HEADROOM + MAX_DATAGRAM_BYTES.
                iov_base: unsafe { bytes.add(index * SLOT_STRIDE_BYTES + HEADROOM) }.cast(),
                iov_len: MAX_DATAGRAM_BYTES,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.addresses[index]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].as_mut_ptr();
            header.msg_controllen = CMSG_BUFFER_BYTES as _;
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
    pub fn meta(&self, index: usize) -> Option<RecvMeta> {
        let header = &self.headers[index];
        let mut meta = RecvMeta {
            addr: address::read(&self.addresses[index])?,
            dst_ip: None,
            len: header.msg_len as usize,
            stride: header.msg_len as usize,
            tos: 0,
        };
        // SAFETY: `header` was filled by the kernel, and its control pointer still points at
        // `controls[index]`, which `self` keeps in place, with the length that was written.
        for (level, kind, data) in unsafe { cmsg::messages(&header.msg_hdr) } {
            meta.dst_ip = meta.dst_ip.or(cmsg::destination(level, kind, data));
            meta.tos = cmsg::tos(level, kind, data).unwrap_or(meta.tos);
            meta.stride = cmsg::segment_size(level, kind, data).unwrap_or(meta.stride);
        }
        Some(meta)
    }
}
