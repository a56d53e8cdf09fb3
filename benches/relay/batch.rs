//! `recvmmsg` and `sendmmsg` over IPv4 with minimal overhead, and the priority call that std does not have.
//! The binary is compared with this code, which is not part of it.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Maximum number of datagrams in a batch.
pub(crate) const BATCH: usize = 64;

/// Free bytes before each datagram: a channel header.
pub(crate) const HEADROOM: usize = 4;

const STRIDE: usize = 2048 + 64;

/// Maximum number of bytes in a GSO message.
const MESSAGE: usize = 65_507;

/// Slots to receive into, and the queue of datagrams to send from them.
pub(crate) struct Batch {
    bytes: Box<[u8]>,
    received: Headers,
    sent: Headers,
    /// Control buffers for the TOS of each datagram, if enabled.
    marks: Box<[[u64; 8]]>,
    /// The GSO control message of each message.
    segment_sizes: Box<[SegmentSize]>,
    /// The number of messages, and of datagrams in them.
    queued: usize,
    datagrams: usize,
}

/// A control message with the segment size (GSO).
#[repr(C)]
#[derive(Clone, Copy)]
struct SegmentSize {
    header: libc::cmsghdr,
    size: u16,
}

/// The headers of a batch of system calls.
struct Headers {
    names: Box<[libc::sockaddr_in]>,
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
}

impl Headers {
    fn new() -> Headers {
        // SAFETY: all three are plain C structs, for which all zero bytes are valid.
        let (name, vector, message) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Headers {
            names: vec![name; BATCH].into(),
            vectors: vec![vector; BATCH].into(),
            messages: vec![message; BATCH].into(),
        }
    }

    /// Sets the contents and the address buffer of a header.
    fn set(&mut self, index: usize, bytes: *mut u8, len: usize) {
        self.vectors[index] = libc::iovec {
            iov_base: bytes.cast(),
            iov_len: len,
        };
        let header = &mut self.messages[index].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_iov = &mut self.vectors[index];
        header.msg_iovlen = 1;
    }
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch {
            bytes: vec![0; STRIDE * BATCH].into(),
            received: Headers::new(),
            sent: Headers::new(),
            marks: vec![[0; 8]; BATCH].into(),
            // SAFETY: a plain C struct, for which all zero bytes are valid.
            segment_sizes: vec![unsafe { mem::zeroed() }; BATCH].into(),
            queued: 0,
            datagrams: 0,
        }
    }

    /// Receives pending datagrams into the slots from `first` on, without blocking, and returns their number.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, first: usize) -> usize {
        for slot in first..BATCH {
            let room = &mut self.bytes[slot * STRIDE + HEADROOM..(slot + 1) * STRIDE];
            let (start, len) = (room.as_mut_ptr(), room.len());
            self.received.set(slot, start, len);
            let header = &mut self.received.messages[slot].msg_hdr;
            header.msg_control = self.marks[slot].as_mut_ptr().cast();
            header.msg_controllen = mem::size_of_val(&self.marks[slot]) as _;
        }
        let messages = &mut self.received.messages[first..];
        // SAFETY: each of `messages` points to a slot and an address of `self` with their lengths, and
        // `self` is borrowed until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        count.max(0) as usize
    }

    /// The datagram in a slot.
    pub(crate) fn datagram(&self, slot: usize) -> &[u8] {
        let len = self.received.messages[slot].msg_len as usize;
        &self.bytes[slot * STRIDE + HEADROOM..][..len]
    }

    /// The source of the datagram in a slot.
    pub(crate) fn from(&self, slot: usize) -> SocketAddrV4 {
        let name = &self.received.names[slot];
        let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
        SocketAddrV4::new(ip, u16::from_be(name.sin_port))
    }

    /// Writes a channel header before the datagram in a slot.
    pub(crate) fn put_channel(&mut self, slot: usize, number: u16) {
        let len = self.received.messages[slot].msg_len as u16;
        let header = &mut self.bytes[slot * STRIDE..][..HEADROOM];
        header[..2].copy_from_slice(&number.to_be_bytes());
        header[2..].copy_from_slice(&len.to_be_bytes());
    }

    /// Queues the datagram in a slot, with the channel header if `header`. The slot must not receive another
    /// datagram before [`Batch::send`]. An equally long datagram to the same destination joins the last message.
    pub(crate) fn queue(&mut self, slot: usize, to: SocketAddrV4, header: bool) {
        let more = if header { HEADROOM } else { 0 };
        let len = self.received.messages[slot].msg_len as usize + more;
        let bytes = &mut self.bytes[slot * STRIDE + HEADROOM - more..][..len];
        let name = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(to.ip().octets()),
            },
            sin_zero: [0; 8],
        };
        let start = bytes.as_mut_ptr();
        if self.queued > 0 && self.joins_last_message(name, len) {
            self.sent.vectors[self.datagrams] = libc::iovec {
                iov_base: start.cast(),
                iov_len: len,
            };
            self.sent.messages[self.queued - 1].msg_hdr.msg_iovlen += 1;
            self.set_last_segment_size(len);
        } else {
            self.sent.names[self.queued] = name;
            self.sent.set(self.queued, start, len);
            self.sent.vectors[self.datagrams] = self.sent.vectors[self.queued];
            let message = &mut self.sent.messages[self.queued].msg_hdr;
            message.msg_iov = &mut self.sent.vectors[self.datagrams];
            message.msg_control = ptr::null_mut();
            message.msg_controllen = 0;
            self.queued += 1;
        }
        self.datagrams += 1;
    }

    fn joins_last_message(&self, to: libc::sockaddr_in, len: usize) -> bool {
        let last = self.queued - 1;
        let (name, message) = (&self.sent.names[last], &self.sent.messages[last].msg_hdr);
        name.sin_port == to.sin_port
            && name.sin_addr.s_addr == to.sin_addr.s_addr
            && self.sent.vectors[self.datagrams - 1].iov_len == len
            && (message.msg_iovlen + 1) * len <= MESSAGE
    }

    fn set_last_segment_size(&mut self, size: usize) {
        let last = self.queued - 1;
        let cut = &mut self.segment_sizes[last];
        cut.header.cmsg_level = libc::SOL_UDP;
        cut.header.cmsg_type = libc::UDP_SEGMENT;
        // SAFETY: the macro only computes a length.
        cut.header.cmsg_len = unsafe { libc::CMSG_LEN(2) } as _;
        cut.size = size as u16;
        let message = &mut self.sent.messages[last].msg_hdr;
        message.msg_control = ptr::from_mut(cut).cast();
        message.msg_controllen = mem::size_of::<SegmentSize>() as _;
    }

    /// Sends all queued datagrams.
    pub(crate) fn send(&mut self, socket: &UdpSocket) {
        let count = mem::take(&mut self.queued);
        self.datagrams = 0;
        if count == 0 {
            return;
        }
        // SAFETY: `queue` has set the first `count` messages. Each points to bytes and an address of
        // `self`, which is borrowed until the call returns.
        unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.sent.messages.as_mut_ptr(),
                count as libc::c_uint,
                0,
            );
        }
    }
}

/// Sets real-time priority: on this core, this process runs before all normal ones.
pub(crate) fn set_realtime_priority() {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: `priority` is the struct that the call expects, and lives until it returns.
    let status = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) };
    assert_eq!(
        status,
        0,
        "lockstep needs root: {}",
        io::Error::last_os_error()
    );
}
