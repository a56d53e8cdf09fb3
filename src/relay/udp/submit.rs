//! Submits a batch until the kernel has taken or refused every datagram.

use std::io;

use super::batch::{Batch, Messages};
use super::gso_support::GsoSupport;

/// `sendmmsg`: returns how many messages it took, or why it refused the first.
pub trait Kernel: FnMut(&mut Messages<'_>) -> io::Result<usize> {}

impl<F: FnMut(&mut Messages<'_>) -> io::Result<usize>> Kernel for F {}

/// Why the kernel took no more messages.
enum Stop {
    /// It took all.
    Done,
    /// The send buffer of the socket is full.
    Full,
    /// It refused the next message.
    Refused,
}

/// The outcome for a list of messages.
struct Progress {
    /// Datagrams that the kernel took.
    taken: usize,
    /// Whether the send buffer of the socket is full.
    full: bool,
}

/// Submits a batch, and returns the number of datagrams that the kernel took.
///
/// A refused datagram is skipped. A refused GSO message is sent again as single datagrams: some devices
/// and routes support no GSO. After the send buffer is full, the rest of the batch is dropped.
pub fn submit(batch: &mut Batch<'_>, kernel: &mut impl Kernel, gso: &mut GsoSupport) -> usize {
    let count = batch.groups().len();
    let (mut done, mut taken) = (0, 0);
    loop {
        let (sent, stop) = submit_messages(&mut batch.messages(done..count), kernel);
        taken += sent;
        if !batch.groups().all_single() {
            let groups = batch.groups();
            let datagrams = (done..done + sent).map(|group| groups.datagrams_in(group));
            let combined = datagrams.sum::<usize>() - sent;
            taken += combined;
            gso.on_sent(combined);
        }
        done += sent;
        match stop {
            Stop::Done | Stop::Full => return taken,
            Stop::Refused if batch.groups().datagrams_in(done) > 1 => {
                gso.on_refused();
                let singles = submit_singles(batch, done, kernel);
                taken += singles.taken;
                if singles.full {
                    return taken;
                }
            }
            Stop::Refused => {}
        }
        done += 1;
    }
}

/// Sends each datagram of a group as a message of its own.
fn submit_singles(batch: &mut Batch<'_>, group: usize, kernel: &mut impl Kernel) -> Progress {
    let mut messages = batch.single_messages(group);
    let (mut done, mut taken) = (0, 0);
    loop {
        let (sent, stop) = submit_messages(&mut messages.after(done), kernel);
        done += sent;
        taken += sent;
        match stop {
            Stop::Done => return Progress { taken, full: false },
            Stop::Full => return Progress { taken, full: true },
            Stop::Refused => done += 1,
        }
    }
}

/// Returns how many messages the kernel took, and why it stopped.
///
/// An error is not necessarily about the first message: with `IP_RECVERR`, `sendmmsg` also reports a
/// pending ICMP error of an earlier datagram to another destination, once. Therefore a message counts
/// as refused only after a second error in a row.
fn submit_messages(messages: &mut Messages<'_>, kernel: &mut impl Kernel) -> (usize, Stop) {
    let (mut sent, mut suspected) = (0, false);
    loop {
        let mut rest = messages.after(sent);
        if rest.is_empty() {
            return (sent, Stop::Done);
        }
        match kernel(&mut rest) {
            Ok(taken) => {
                sent += taken;
                suspected = false;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (sent, Stop::Full),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if !suspected => suspected = true,
            Err(_) => return (sent, Stop::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::udp::batch::BatchBuffers;
    use crate::relay::udp::types::{BATCH, Transmit};
    use crate::relay::udp::{address, cmsg};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::net::SocketAddr;
    use std::slice;

    /// The reply of the model kernel to the next message, for any destination.
    #[derive(Debug, Clone, Copy)]
    enum KernelReply {
        Accept,
        Interrupt,
        Refuse,
        RefuseGso,
        Full,
    }

    fn replies() -> impl Strategy<Value = Vec<KernelReply>> {
        let reply = prop_oneof![
            8 => Just(KernelReply::Accept),
            1 => Just(KernelReply::Interrupt),
            2 => Just(KernelReply::Refuse),
            3 => Just(KernelReply::RefuseGso),
            1 => Just(KernelReply::Full),
        ];
        // A kernel that only replies `Interrupt` would be called forever.
        let replies = prop::collection::vec(reply, 0..80);
        replies.prop_map(|replies| [replies, vec![KernelReply::Accept]].concat())
    }

    /// The destination of a message, whether it uses GSO, and the datagrams that the kernel makes of it.
    fn split_gso(header: &libc::msghdr) -> (SocketAddr, bool, Vec<Vec<u8>>) {
        // SAFETY: the header is one of `Messages`, whose pointers are valid while it is borrowed.
        let (name, vectors, controls) = unsafe {
            let name = address::read(&*header.msg_name.cast()).unwrap();
            let vectors = slice::from_raw_parts(header.msg_iov, header.msg_iovlen);
            let controls: Vec<_> = cmsg::messages(header).collect();
            (name, vectors, controls)
        };
        let mut bytes = Vec::new();
        for vector in vectors {
            // SAFETY: as for the header: its vectors are valid, too.
            let part = unsafe { slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len) };
            bytes.extend_from_slice(part);
        }
        let size = controls.iter().find_map(|(level, kind, data)| {
            let found = (*level, *kind) == (libc::SOL_UDP, libc::UDP_SEGMENT);
            found.then(|| u16::from_ne_bytes([data[0], data[1]]))
        });
        let datagrams = match size {
            Some(size) => bytes.chunks(size.into()).map(<[u8]>::to_vec).collect(),
            None => vec![bytes],
        };
        (name, size.is_some(), datagrams)
    }

    /// The datagrams that arrived at each destination, and the counts of the sender and the kernel.
    struct Outcome {
        arrived: HashMap<SocketAddr, Vec<Vec<u8>>>,
        taken: usize,
        refused: usize,
        full: bool,
    }

    fn send(
        datagrams: &[(SocketAddr, Vec<u8>)],
        use_gso: bool,
        replies: &[KernelReply],
    ) -> Outcome {
        let mut arrived: HashMap<_, Vec<_>> = HashMap::new();
        let (mut refused, mut full, mut suspected) = (0, false, false);
        let mut replies = replies.iter().cycle();
        let transmits = datagrams.iter().map(|(to, bytes)| Transmit {
            contents: bytes,
            destination: *to,
            src_ip: None,
            tos: 0,
        });
        let mut buffers = BatchBuffers::new();
        let mut batch = buffers.fill(transmits, use_gso);
        let mut kernel = |messages: &mut Messages<'_>| {
            let mut done = 0;
            for header in messages.headers() {
                let (to, segmented, datagrams) = split_gso(&header.msg_hdr);
                let error = match replies.next() {
                    Some(KernelReply::Interrupt) => libc::EINTR,
                    Some(KernelReply::Refuse) => libc::EPERM,
                    Some(KernelReply::RefuseGso) if segmented => libc::EMSGSIZE,
                    Some(KernelReply::Full) => libc::EAGAIN,
                    _ => {
                        arrived.entry(to).or_default().extend(datagrams);
                        done += 1;
                        suspected = false;
                        continue;
                    }
                };
                // As the kernel does: it returns the count of taken messages, and the error next time.
                if done > 0 {
                    break;
                }
                if ![libc::EINTR, libc::EAGAIN].contains(&error) {
                    // The first error may be about another datagram.
                    refused += usize::from(suspected && !segmented);
                    suspected = !suspected;
                }
                full |= error == libc::EAGAIN;
                return Err(io::Error::from_raw_os_error(error));
            }
            Ok(done)
        };
        let taken = submit(&mut batch, &mut kernel, &mut GsoSupport::new(true));
        Outcome {
            arrived,
            taken,
            refused,
            full,
        }
    }

    fn any_datagrams() -> impl Strategy<Value = Vec<(SocketAddr, Vec<u8>)>> {
        let len = prop_oneof![4 => Just(1200_usize), 1 => 0..1300_usize];
        let datagram = (1..5_u16, len, any::<u8>());
        let datagrams = prop::collection::vec(datagram, 0..=BATCH);
        datagrams.prop_map(|all| {
            let all = all.into_iter();
            let all = all.map(|(port, len, byte)| (([127, 0, 0, 1], port).into(), vec![byte; len]));
            all.collect()
        })
    }

    proptest! {
        #[test]
        fn each_datagram_arrives_once_and_in_order_or_is_counted_as_refused(
            datagrams in any_datagrams(), use_gso: bool, replies in replies()
        ) {
            let outcome = send(&datagrams, use_gso, &replies);
            let arrived: usize = outcome.arrived.values().map(Vec::len).sum();
            prop_assert_eq!(outcome.taken, arrived);
            if !outcome.full {
                prop_assert_eq!(arrived, datagrams.len() - outcome.refused);
            }
            for (to, arrived) in &outcome.arrived {
                let mut sent = datagrams.iter().filter(|(there, _)| there == to);
                for datagram in arrived {
                    prop_assert!(sent.any(|(_, bytes)| bytes == datagram), "not sent, or out of order");
                }
            }
        }
    }
}
