//! Datagrams that the kernel dropped because a socket's receive buffer was full.

use std::mem;
use std::os::fd::{AsFd, AsRawFd};

/// The count of values that `SO_MEMINFO` returns, and the index of the drops
/// (`SK_MEMINFO_VARS`, `SK_MEMINFO_DROPS`).
const MEMINFO_VARS: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// The received datagrams that `socket` has dropped since its creation; 0 if the system does not report it.
///
/// This is the counter that `SO_RXQ_OVFL` attaches to every datagram, without that cost per datagram.
pub(crate) fn receive_drops(socket: &impl AsFd) -> u64 {
    let mut numbers = [0_u32; MEMINFO_VARS];
    let mut len = mem::size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `numbers`, whose bit patterns are all valid.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &mut len,
        )
    };
    match status {
        0 => numbers[MEMINFO_DROPS].into(),
        _ => 0,
    }
}
