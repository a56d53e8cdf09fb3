//! Datagrams in batches: `recvmmsg` and `sendmmsg`. The only unsafe code of the house.
//!
//! Nothing is allocated after start. A batch is received into slots with room around each
//! datagram, so that headers can be written in place and the same bytes sent on.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::turn::{HEADROOM, TAILROOM};

/// Datagrams in a batch.
pub const BATCH: usize = 64;

/// The largest payload of UDP.
const DATAGRAM: usize = 65_535;

/// From slot to slot. One cache line more than a power of two, or all slots would compete for the
/// same sets of the cache.
const STRIDE: usize = (HEADROOM + DATAGRAM + TAILROOM).next_multiple_of(64) + 64;

/// Room for one control message with a source or destination address.
const CONTROL: usize = 64;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Slots that datagrams are received into.
pub struct Slots {
    bytes: Box<[u8]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

/// Where a received datagram came from, and which address it was sent to.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub from: SocketAddr,
    /// Known on sockets with `IP_PKTINFO`.
    pub to: Option<IpAddr>,
    /// Bytes of the datagram.
    pub len: usize,
}

/// A datagram to send.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    pub bytes: &'a [u8],
    pub to: SocketAddr,
    /// The source address to use, on sockets bound to a wildcard.
    pub from: Option<IpAddr>,
}

// SAFETY: the raw pointers inside the headers are written anew from `self`'s own buffers before
// each system call, and never read in between.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Send for Sender {}

impl Slots {
    pub fn new() -> Slots {
        Slots {
            bytes: vec![0; STRIDE * BATCH].into_boxed_slice(),
            addresses: zeroed_slice(),
            controls: vec![Control([0; CONTROL]); BATCH].into_boxed_slice(),
            vectors: zeroed_slice(),
            headers: zeroed_slice(),
        }
    }

    /// A slot's bytes, with the datagram's place in them: at [`HEADROOM`].
    pub fn slot(&mut self, index: usize) -> &mut [u8] {
        &mut self.bytes[index * STRIDE..][..STRIDE]
    }

    /// What stands in a slot.
    pub fn read(&self, index: usize) -> &[u8] {
        &self.bytes[index * STRIDE..][..STRIDE]
    }

    /// Receives what waits on `socket` into the slots from `first` on, without blocking. Gives the
    /// number of datagrams; their origins are read by [`Slots::origin`].
    pub fn receive(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        let count = BATCH.saturating_sub(first);
        let bytes = self.bytes.as_mut_ptr();
        for index in first..BATCH {
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
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        // SAFETY: `headers[first..]` has `count` entries, each pointing at buffers of `self` that
        // live and stay in place until the call returns, with their true lengths.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers[first..].as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(received as usize)
    }

    /// Where the datagram in a slot came from; `None` where the kernel's answer makes no sense.
    pub fn origin(&self, index: usize) -> Option<Origin> {
        let header = &self.headers[index];
        Some(Origin {
            from: read_address(&self.addresses[index])?,
            to: self.destination(index),
            len: header.msg_len as usize,
        })
    }

    /// The local address in the control message of `IP_PKTINFO` or `IPV6_RECVPKTINFO`.
    fn destination(&self, index: usize) -> Option<IpAddr> {
        let header = &self.headers[index].msg_hdr;
        if header.msg_controllen == 0 {
            return None;
        }
        // SAFETY: `header` was filled by the kernel and its control pointer still points at
        // `controls[index]`, which is aligned and as long as it says. CMSG_* stay inside it.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(header);
            while !message.is_null() {
                let data = libc::CMSG_DATA(message);
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                        let octets = info.ipi_addr.s_addr.to_ne_bytes();
                        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                        return Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                    }
                    _ => message = libc::CMSG_NXTHDR(header, message),
                }
            }
        }
        None
    }
}

/// Sends batches.
pub struct Sender {
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Sender {
    pub fn new() -> Sender {
        Sender {
            addresses: zeroed_slice(),
            controls: vec![Control([0; CONTROL]); BATCH].into_boxed_slice(),
            vectors: zeroed_slice(),
            headers: zeroed_slice(),
        }
    }

    /// Sends up to [`BATCH`] datagrams on `socket` and gives the number that the kernel took.
    ///
    /// One that the kernel refuses costs only itself; when the socket's buffer is full, what is
    /// left is lost.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> usize {
        let mut count = 0;
        for datagram in datagrams.take(BATCH) {
            self.fill(count, &datagram);
            count += 1;
        }
        let (mut done, mut taken) = (0, 0);
        while done < count {
            match self.submit(socket, done, count) {
                Ok(sent) => {
                    done += sent;
                    taken += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => done += 1,
            }
        }
        taken
    }

    /// The slices behind `bytes` must live until [`Sender::submit`], which [`Sender::send`] sees to.
    fn fill(&mut self, index: usize, datagram: &Outgoing<'_>) {
        self.vectors[index] = libc::iovec {
            iov_base: datagram.bytes.as_ptr().cast_mut().cast(),
            iov_len: datagram.bytes.len(),
        };
        let name_len = write_address(datagram.to, &mut self.addresses[index]);
        let control_len = match datagram.from {
            Some(from) => write_source(from, &mut self.controls[index]),
            None => 0,
        };
        let header = &mut self.headers[index].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.addresses[index]).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &mut self.vectors[index];
        header.msg_iovlen = 1;
        header.msg_control = match control_len {
            0 => ptr::null_mut(),
            _ => self.controls[index].0.as_mut_ptr().cast(),
        };
        header.msg_controllen = control_len as _;
        header.msg_flags = 0;
    }

    fn submit(&mut self, socket: BorrowedFd<'_>, from: usize, to: usize) -> io::Result<usize> {
        // SAFETY: `headers[from..to]` were filled by `fill` from slices that the caller of `send`
        // still borrows and from buffers of `self`; the kernel only reads what they point at.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers[from..to].as_mut_ptr(),
                (to - from) as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(sent as usize)
    }
}

fn zeroed_slice<T>() -> Box<[T]> {
    // SAFETY: used for plain C structs of the socket API alone, for which all zeroes is valid.
    (0..BATCH).map(|_| unsafe { mem::zeroed() }).collect()
}

fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct the storage holds, and it is large enough.
            let v4: &libc::sockaddr_in = unsafe { &*ptr::from_ref(storage).cast() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6: &libc::sockaddr_in6 = unsafe { &*ptr::from_ref(storage).cast() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn write_address(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: a sockaddr_storage is large and aligned enough for every sockaddr.
            let out: &mut libc::sockaddr_in = unsafe { &mut *ptr::from_mut(storage).cast() };
            out.sin_family = libc::AF_INET as libc::sa_family_t;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let out: &mut libc::sockaddr_in6 = unsafe { &mut *ptr::from_mut(storage).cast() };
            out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            out.sin6_port = v6.port().to_be();
            out.sin6_flowinfo = 0;
            out.sin6_addr.s6_addr = v6.ip().octets();
            out.sin6_scope_id = v6.scope_id();
            mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Writes a control message that sets the source address, and gives its length.
fn write_source(source: IpAddr, control: &mut Control) -> usize {
    match source {
        IpAddr::V4(ip) => {
            // SAFETY: all zeroes is a valid in_pktinfo.
            let mut info: libc::in_pktinfo = unsafe { mem::zeroed() };
            info.ipi_spec_dst.s_addr = u32::from_ne_bytes(ip.octets());
            write_control(control, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(ip) => {
            // SAFETY: all zeroes is a valid in6_pktinfo.
            let mut info: libc::in6_pktinfo = unsafe { mem::zeroed() };
            info.ipi6_addr.s6_addr = ip.octets();
            write_control(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

fn write_control<T>(control: &mut Control, level: i32, kind: i32, data: T) -> usize {
    let size = mem::size_of::<T>() as libc::c_uint;
    // SAFETY: CMSG_SPACE of the packet infos is at most 40 bytes, `control` has 64 and is aligned
    // as a cmsghdr; all writes stay inside CMSG_SPACE.
    unsafe {
        let header: *mut libc::cmsghdr = control.0.as_mut_ptr().cast();
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast(), data);
        libc::CMSG_SPACE(size) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_batch_arrives_in_order_with_its_origins() {
        let (a, b) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let to = b.local_addr().unwrap();
        let texts: Vec<String> = (0..10).map(|i| format!("datagram {i}")).collect();
        let outgoing = texts.iter().map(|text| Outgoing {
            bytes: text.as_bytes(),
            to,
            from: None,
        });
        assert_eq!(Sender::new().send(a.as_fd(), outgoing), 10);

        let mut slots = Slots::new();
        let count = slots.receive(b.as_fd(), 3).unwrap();
        assert_eq!(count, 10);
        for (index, text) in (3..13).zip(&texts) {
            let origin = slots.origin(index).unwrap();
            assert_eq!(origin.from, a.local_addr().unwrap());
            assert_eq!(
                &slots.slot(index)[HEADROOM..][..origin.len],
                text.as_bytes()
            );
        }
        let error = slots.receive(b.as_fd(), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_datagram_that_the_kernel_refuses_costs_only_itself() {
        let a = UdpSocket::bind("127.0.0.1:0").unwrap();
        let b = UdpSocket::bind("127.0.0.1:0").unwrap();
        let good = Outgoing {
            bytes: b"x",
            to: b.local_addr().unwrap(),
            from: None,
        };
        let bad = Outgoing {
            to: "[::1]:9".parse().unwrap(),
            ..good
        };
        let sent = Sender::new().send(a.as_fd(), [good, bad, good].into_iter());
        assert_eq!(sent, 2);
    }
}
