//! Hands sockets over to another process in the queue of a Unix socket (`SCM_RIGHTS`).
//!
//! The process that keeps both ends keeps all sockets in the queue, with two descriptors. This matters
//! for systemd's descriptor store: it compares each new descriptor with all stored ones, which takes
//! seconds for thousands of sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use socket2::SockRef;

/// Maximum number of descriptors in a message (`SCM_MAX_FD` of the kernel).
pub const MAX_DESCRIPTORS_PER_MESSAGE: usize = 253;

/// Size of the queue. A message takes about a kilobyte.
const QUEUE_BYTES: usize = 1 << 20;

#[cfg(target_os = "linux")]
const RECEIVE_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_CMSG_CLOEXEC);
#[cfg(not(target_os = "linux"))]
const RECEIVE_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// The two ends of a queue with sockets.
pub type DescriptorQueue = [UnixStream; 2];

/// Puts sockets into a new queue. Returns how many of the last sockets the kernel did not take.
pub fn send_descriptors(sockets: &[UdpSocket]) -> io::Result<(DescriptorQueue, usize)> {
    let (from, to) = UnixStream::pair()?;
    // If this fails, the default size still holds about 50,000 sockets.
    let _ = SockRef::from(&from).set_send_buffer_size(QUEUE_BYTES);
    let mut left = sockets.len();
    for chunk in sockets.chunks(MAX_DESCRIPTORS_PER_MESSAGE) {
        let numbers: Vec<RawFd> = chunk.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let byte = [IoSlice::new(b"s")];
        if sendmsg::<()>(
            from.as_raw_fd(),
            &byte,
            &rights,
            MsgFlags::MSG_DONTWAIT,
            None,
        )
        .is_err()
        {
            break;
        }
        left -= chunk.len();
    }
    Ok(([from, to], left))
}

/// Takes all sockets out of the queue of one end, which stays open.
pub fn receive_descriptors(end: RawFd) -> Vec<UdpSocket> {
    let mut sockets = Vec::new();
    loop {
        let (mut byte, mut control) = ([0], cmsg_space!([RawFd; MAX_DESCRIPTORS_PER_MESSAGE]));
        let mut parts = [IoSliceMut::new(&mut byte)];
        let message = match recvmsg::<()>(end, &mut parts, Some(&mut control), RECEIVE_FLAGS) {
            Ok(message) if message.bytes > 0 => message,
            _ => return sockets,
        };
        for control in message.cmsgs().into_iter().flatten() {
            let ControlMessageOwned::ScmRights(numbers) = control else {
                continue;
            };
            for number in numbers {
                // SAFETY: the kernel has just created this descriptor for this process, and nothing else
                // owns it.
                sockets.push(unsafe { UdpSocket::from_raw_fd(number) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_hundred_sockets_keep_their_order() {
        let sockets: Vec<_> = (0..600)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket"))
            .collect();
        let addresses = |sockets: &[UdpSocket]| -> Vec<_> {
            let sockets = sockets.iter();
            sockets.map(|one| one.local_addr().ok()).collect()
        };
        let before = addresses(&sockets);
        let ([from, to], left) = send_descriptors(&sockets).expect("a queue");
        assert_eq!(left, 0);
        drop(sockets);
        assert!(receive_descriptors(from.as_raw_fd()).is_empty());
        assert_eq!(addresses(&receive_descriptors(to.as_raw_fd())), before);
        assert!(receive_descriptors(to.as_raw_fd()).is_empty());
    }
}
