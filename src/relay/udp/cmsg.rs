//! Control messages (`cmsg`): ancillary data of a sent or received datagram.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::slice;

use super::types::Tos;
use super::zeroed::Zeroed;

/// Size of the control buffer of one datagram. An `in6_pktinfo` takes 40 bytes, an integer 24.
pub(super) const CMSG_BUFFER_BYTES: usize = 128;

/// The control messages of one datagram.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct CmsgBuffer([u8; CMSG_BUFFER_BYTES]);

impl CmsgBuffer {
    pub(super) const EMPTY: CmsgBuffer = CmsgBuffer([0; CMSG_BUFFER_BYTES]);

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }

    /// Adds the source address after the first `used` bytes, and returns how many are used then.
    pub(super) fn add_source(&mut self, used: usize, source: IpAddr) -> usize {
        match source {
            IpAddr::V4(ip) => {
                let mut info = libc::in_pktinfo::zeroed();
                info.ipi_spec_dst.s_addr = u32::from_ne_bytes(ip.octets());
                self.add(used, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
            }
            IpAddr::V6(ip) => {
                let mut info = libc::in6_pktinfo::zeroed();
                info.ipi6_addr.s6_addr = ip.octets();
                self.add(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
            }
        }
    }

    /// Adds the segment size: the kernel splits the message into datagrams of `size` bytes (GSO).
    pub(super) fn add_segment_size(&mut self, used: usize, size: u16) -> usize {
        self.add(used, libc::SOL_UDP, libc::UDP_SEGMENT, size)
    }

    /// Adds the DSCP and ECN bits of a datagram.
    pub(super) fn add_tos(&mut self, used: usize, ipv4: bool, tos: Tos) -> usize {
        let (level, kind) = if ipv4 {
            (libc::IPPROTO_IP, libc::IP_TOS)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        };
        self.add(used, level, kind, i32::from(tos))
    }

    fn add<T>(&mut self, used: usize, level: i32, kind: i32, data: T) -> usize {
        let size = mem::size_of::<T>() as libc::c_uint;
        // SAFETY: both macros only compute sizes.
        let (len, space) = unsafe { (libc::CMSG_LEN(size), libc::CMSG_SPACE(size) as usize) };
        assert!(used.is_multiple_of(8) && used + space <= CMSG_BUFFER_BYTES);
        // SAFETY: all writes stay within `space` bytes from `used` on. These are inside `self`, as
        // asserted, and aligned like a `cmsghdr`: `self` and `used` are multiples of 8.
        unsafe {
            let header: *mut libc::cmsghdr = self.0.as_mut_ptr().add(used).cast();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = len as _;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast(), data);
        }
        used + space
    }
}

/// The local address, from the control message of `IP_PKTINFO` or `IPV6_RECVPKTINFO`.
pub(super) fn destination(level: i32, kind: i32, data: &[u8]) -> Option<IpAddr> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let start = mem::offset_of!(libc::in_pktinfo, ipi_addr);
            let octets: [u8; 4] = data.get(start..)?.first_chunk().copied()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let octets: [u8; 16] = data.first_chunk().copied()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// The length of each datagram in a slot, from the control message of `UDP_GRO`.
pub(super) fn segment_size(level: i32, kind: i32, data: &[u8]) -> Option<usize> {
    if (level, kind) != (libc::SOL_UDP, libc::UDP_GRO) {
        return None;
    }
    let size = i32::from_ne_bytes(data.first_chunk().copied()?);
    usize::try_from(size).ok().filter(|size| *size > 0)
}

/// The error, from the control message of `IP_RECVERR` or `IPV6_RECVERR`.
pub(super) fn error(level: i32, kind: i32, data: &[u8]) -> Option<libc::sock_extended_err> {
    let (v4, v6) = (
        (libc::IPPROTO_IP, libc::IP_RECVERR),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    );
    let whole = data.len() >= mem::size_of::<libc::sock_extended_err>();
    if !whole || ![v4, v6].contains(&(level, kind)) {
        return None;
    }
    // SAFETY: there are enough bytes for the struct, whose bit patterns are all valid.
    Some(unsafe { ptr::read_unaligned(data.as_ptr().cast()) })
}

/// The DSCP and ECN bits, from the control message of `IP_RECVTOS` (a byte) or `IPV6_RECVTCLASS` (an
/// integer).
pub(super) fn tos(level: i32, kind: i32, data: &[u8]) -> Option<Tos> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_TOS) => data.first().copied(),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            let class = i32::from_ne_bytes(data.first_chunk().copied()?);
            Tos::try_from(class).ok()
        }
        _ => None,
    }
}

/// The level, type and data of each control message of a datagram.
///
/// # Safety
///
/// The control pointer and length of `header` describe initialised control messages that live for
/// `'a` and are aligned like a `cmsghdr`. A length of 0 is valid with any pointer.
pub(super) unsafe fn messages(
    header: &libc::msghdr,
) -> impl Iterator<Item = (i32, i32, &[u8])> + use<'_> {
    // SAFETY: the caller guarantees a valid pointer and length; the macro reads within that length.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: `next` is a message inside the buffer of the caller's guarantee. Its data is what is
        // left of `cmsg_len` after the message header.
        unsafe {
            let message = &*next;
            let head = libc::CMSG_LEN(0) as usize;
            let len = (message.cmsg_len as usize).saturating_sub(head);
            let data = slice::from_raw_parts(libc::CMSG_DATA(next), len);
            next = libc::CMSG_NXTHDR(header, next);
            Some((message.cmsg_level, message.cmsg_type, data))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_messages_are_read_back_as_they_were_written() {
        let mut control = CmsgBuffer::EMPTY;
        let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let used = control.add_source(0, IpAddr::V6(v6));
        let used = control.add_segment_size(used, 1200);
        let used = control.add_tos(used, false, 46);
        let mut header = libc::msghdr::zeroed();
        header.msg_control = control.as_mut_ptr();
        header.msg_controllen = used as _;
        // SAFETY: `control` holds `used` bytes of messages, and lives until the end of the test.
        let messages: Vec<_> = unsafe { messages(&header) }.collect();
        assert_eq!(messages.len(), 3);
        let (level, kind, data) = messages[0];
        assert_eq!(destination(level, kind, data), Some(IpAddr::V6(v6)));
        let segment = (
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            &1200_u16.to_ne_bytes()[..],
        );
        assert_eq!(messages[1], segment);
        let class = (
            libc::IPPROTO_IPV6,
            libc::IPV6_TCLASS,
            &46_i32.to_ne_bytes()[..],
        );
        assert_eq!(messages[2], class);
        let (level, kind, data) = class;
        assert_eq!(tos(level, kind, data), Some(46));
        assert_eq!(tos(libc::IPPROTO_IP, libc::IP_TOS, &[46]), Some(46));
    }

    #[test]
    fn data_too_short_for_an_address_or_an_error_is_ignored() {
        for len in 0..8 {
            let data = [1; 8];
            assert!(error(libc::IPPROTO_IP, libc::IP_RECVERR, &data[..len]).is_none());
            assert_eq!(
                destination(libc::IPPROTO_IP, libc::IP_PKTINFO, &data[..len]),
                None
            );
        }
    }
}
