//! Whether what a socket sends may be cut into fragments, by this host or on the way.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Has a socket send without the bit that forbids fragments (RFC 8656 section 14, alternate
/// behaviour); over IPv6, where nobody but the sender makes any, up to the MTU of the path.
///
/// Not `IP_PMTUDISC_DONT`: that keeps it from hearing that a datagram was too big.
pub fn allow_fragmentation(socket: &impl AsFd, ipv4: bool) -> io::Result<()> {
    match ipv4 {
        true => set(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        ),
        false => set(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_WANT,
        ),
    }
}

/// The contrary. What is too large for the first link is refused; what the kernel has been told of
/// the path's MTU, by anybody, is not asked.
pub fn forbid_fragmentation(socket: &impl AsFd, ipv4: bool) -> io::Result<()> {
    match ipv4 {
        true => set(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        ),
        false => set(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        ),
    }
}

fn set(socket: &impl AsFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option is an int, `value` is one, and the call only reads it.
    let status = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            mem::size_of::<i32>() as libc::socklen_t,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
