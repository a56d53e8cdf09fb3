//! Receives batches of datagrams with `recvmmsg`.

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::address;
use super::buffer::Buffer;
use super::cmsg::{self, CMSG_BUFFER_BYTES, CmsgBuffer};
use super::types::{BATCH, RecvMeta};
use super::zeroed::zeroed_batch;

/// Receives datagrams into slots.
pub(crate) struct Receiver {
    pub buffer: Buffer,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[CmsgBuffer]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the pointers in the headers are zero or point into the boxes of the same value, which never
// move. `receive` writes them before the kernel reads them.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(crate) fn new() -> Receiver {
        Receiver {
            buffer: Buffer::new(),
            addresses: zeroed_batch(),
            controls: vec![CmsgBuffer::EMPTY; BATCH].into_boxed_slice(),
            vectors: zeroed_batch(),
            headers: zeroed_batch(),
        }
    }

    /// Receives pending datagrams of `socket` into `slots`, without blocking. Returns the number of filled
    /// slots; [`Receiver::meta`] returns their metadata.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        slots: Range<usize>,
    ) -> io::Result<usize> {
        let areas = self.buffer.receive_areas(slots.clone());
        for (index, area) in slots.clone().zip(areas) {
            self.vectors[index] = libc::iovec {
                iov_base: area.as_mut_ptr().cast(),
                iov_len: area.len(),
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
        // SAFETY: each of `headers` points to a receive area, an address and a control buffer of `self`
        // with their lengths, and `self` is borrowed until the call returns. Slots do not overlap.
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

    /// The metadata of a slot; `None` if the kernel returned no valid address.
    pub(crate) fn meta(&self, index: usize) -> Option<RecvMeta> {
        let header = &self.headers[index];
        let mut meta = RecvMeta {
            addr: address::read(&self.addresses[index])?,
            dst_ip: None,
            len: header.msg_len as usize,
            stride: header.msg_len as usize,
            tos: 0,
        };
        // SAFETY: `header` is zeroed, or its control pointer points to `controls[index]`, which does not
        // move and is borrowed here, with the length that the kernel or `receive` wrote. The buffer is
        // initialised in any case.
        for (level, kind, data) in unsafe { cmsg::messages(&header.msg_hdr) } {
            meta.dst_ip = meta.dst_ip.or(cmsg::destination(level, kind, data));
            meta.tos = cmsg::tos(level, kind, data).unwrap_or(meta.tos);
            meta.stride = cmsg::segment_size(level, kind, data).unwrap_or(meta.stride);
        }
        Some(meta)
    }
}
