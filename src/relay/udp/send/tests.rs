//! Tests of sending against a model of the kernel.

use super::*;
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

fn send(datagrams: &[(SocketAddr, Vec<u8>)], use_gso: bool, replies: &[KernelReply]) -> Outcome {
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
