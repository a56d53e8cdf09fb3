//! Controls fragmentation of the datagrams that a socket sends.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Clears the DF bit of sent datagrams (RFC 8656 section 14, alternate behaviour). For IPv6, where only
/// the sender fragments, datagrams are fragmented to the path MTU.
///
/// This is not `IP_PMTUDISC_DONT`, which would suppress "fragmentation needed" errors.
pub(crate) fn allow_fragmentation(socket: &impl AsFd, ipv4: bool) -> io::Result<()> {
    if ipv4 {
        set(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        )
    } else {
        set(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_WANT,
        )
    }
}

/// Sets the DF bit. The kernel refuses datagrams that exceed the MTU of the first link. It ignores the
/// cached path MTU, which anybody can lower with a forged ICMP message.
pub(super) fn forbid_fragmentation(socket: &impl AsFd, ipv4: bool) -> io::Result<()> {
    if ipv4 {
        set(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        )
    } else {
        set(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        )
    }
}

fn set(socket: &impl AsFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the call reads an int of the given size from `value`.
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
