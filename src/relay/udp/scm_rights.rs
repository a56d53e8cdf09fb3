//! Sockets on their way to another process, in the queue of a socket. Whoever keeps both ends keeps
//! all of them, and holds no more than two descriptors: systemd compares each that it is to keep
//! with all that it has, which for thousands takes seconds.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use socket2::SockRef;

/// Descriptors in one message, at most: SCM_MAX_FD of the kernel.
pub const MAX_DESCRIPTORS_PER_MESSAGE: usize = 253;

/// Bytes for the queue: a kilobyte, about, for each message.
const QUEUE_BYTES: usize = 1 << 20;

#[cfg(target_os = "linux")]
const RECEIVE_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_CMSG_CLOEXEC);
#[cfg(not(target_os = "linux"))]
const RECEIVE_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// The two ends.
pub type DescriptorQueue = [UnixStream; 2];

/// Puts sockets into a bundle; gives how many the kernel did not take.
pub fn send_descriptors(sockets: &[UdpSocket]) -> io::Result<(DescriptorQueue, usize)> {
    let (from, to) = UnixStream::pair()?;
    // As it is by itself, there is room for some 50,000.
    let _ = SockRef::from(&from).set_send_buffer_size(QUEUE_BYTES);
    let mut left = sockets.len();
    for some in sockets.chunks(MAX_DESCRIPTORS_PER_MESSAGE) {
        let numbers: Vec<RawFd> = some.iter().map(AsRawFd::as_raw_fd).collect();
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
        left -= some.len();
    }
    Ok(([from, to], left))
}

/// Takes out what is in the queue of an end, which stays open.
pub fn receive_descriptors(end: RawFd) -> Vec<UdpSocket> {
    let mut sockets = Vec::new();
    loop {
        let (mut byte, mut control) = ([0], cmsg_space!([RawFd; MAX_DESCRIPTORS_PER_MESSAGE]));
        let mut parts = [IoSliceMut::new(&mut byte)];
        let message = match recvmsg::<()>(end, &mut parts, Some(&mut control), RECEIVE_FLAGS) {
            Ok(message) if message.bytes > 0 => message,
            _ => return sockets,
        };
        for one in message.cmsgs().into_iter().flatten() {
            let ControlMessageOwned::ScmRights(numbers) = one else {
                continue;
            };
            for number in numbers {
                // SAFETY: it has just been received, so that nobody else has it.
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
        let ([from, to], left) = send_descriptors(&sockets).expect("a bundle");
        assert_eq!(left, 0);
        drop(sockets);
        assert!(receive_descriptors(from.as_raw_fd()).is_empty());
        assert_eq!(addresses(&receive_descriptors(to.as_raw_fd())), before);
        assert!(receive_descriptors(to.as_raw_fd()).is_empty());
    }
}
