//! Tests of both backends: system calls for batches, and the fallback.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};

use super::{BATCH, RecvMeta, Transmit, fallback};
use crate::turn::HEADROOM;

/// One of the two backends.
trait Backend {
    fn send(&mut self, socket: BorrowedFd<'_>, datagrams: &[Transmit<'_>]) -> usize;
    fn receive(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize>;
    fn arrived(&self, index: usize) -> (RecvMeta, &[u8]);
    fn slot(&mut self, index: usize) -> &mut [u8];
}

macro_rules! backend {
    ($sender:ty, $slots:ty) => {
        impl Backend for ($sender, $slots) {
            fn send(&mut self, socket: BorrowedFd<'_>, datagrams: &[Transmit<'_>]) -> usize {
                self.0.send(socket, datagrams.iter().copied())
            }

            fn receive(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
                self.1.receive(socket, first..BATCH)
            }

            fn arrived(&self, index: usize) -> (RecvMeta, &[u8]) {
                let meta = self.1.meta(index).unwrap();
                (meta, &self.1.buffer.slot(index)[HEADROOM..][..meta.len])
            }

            fn slot(&mut self, index: usize) -> &mut [u8] {
                self.1.buffer.slot_mut(index)
            }
        }
    };
}

backend!(fallback::Sender, fallback::Receiver);
#[cfg(target_os = "linux")]
backend!(super::Sender, super::Receiver);

/// Runs a test with both backends.
fn for_each_backend(test: impl Fn(&mut dyn Backend)) {
    test(&mut (fallback::Sender::new(true), fallback::Receiver::new()));
    #[cfg(target_os = "linux")]
    test(&mut (super::Sender::new(true), super::Receiver::new()));
}

fn socket(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn transmit<'a>(bytes: &'a [u8], to: &UdpSocket) -> Transmit<'a> {
    let to = to.local_addr().unwrap();
    Transmit {
        contents: bytes,
        destination: to,
        src_ip: None,
        tos: 0,
    }
}

#[test]
fn a_batch_arrives_in_order_with_its_metadata() {
    for_each_backend(|backend| {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let texts: Vec<String> = (0..10).map(|i| format!("datagram {i}")).collect();
        let batch: Vec<_> = texts.iter().map(|t| transmit(t.as_bytes(), &b)).collect();
        assert_eq!(backend.send(a.as_fd(), &batch), 10);
        assert_eq!(backend.receive(b.as_fd(), 3).unwrap(), 10);
        for (index, text) in (3..13).zip(&texts) {
            let (meta, bytes) = backend.arrived(index);
            assert_eq!(meta.addr, a.local_addr().unwrap());
            assert_eq!(bytes, text.as_bytes());
        }
        let error = backend.receive(b.as_fd(), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_datagram_that_the_kernel_refuses_does_not_affect_the_others() {
    for_each_backend(|backend| {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let good = transmit(b"x", &b);
        let bad = Transmit {
            destination: "[::1]:9".parse().unwrap(),
            ..good
        };
        assert_eq!(backend.send(a.as_fd(), &[good, bad, good]), 2);
    });
}

/// The sizes start GSO groups, end them, and belong to none; over IPv4 and, if available, IPv6.
#[test]
fn datagrams_of_all_sizes_for_several_destinations_arrive_whole_and_in_order() {
    let sizes = [1200, 1200, 1200, 700, 1200, 0, 0, 5, 5, 5, 6, 1200, 1200];
    for ip in ["127.0.0.1", "::1"] {
        if UdpSocket::bind((ip, 0)).is_err() {
            continue;
        }
        for_each_backend(|backend| {
            let (a, to) = (socket(ip), [socket(ip), socket(ip)]);
            let sent: Vec<_> = (0..2 * sizes.len())
                .map(|i| vec![i as u8; sizes[i / 2]])
                .collect();
            let batch = sent.iter().zip(to.iter().cycle());
            let batch: Vec<_> = batch.map(|(bytes, to)| transmit(bytes, to)).collect();
            assert_eq!(backend.send(a.as_fd(), &batch), sent.len());
            for (which, receiver) in to.iter().enumerate() {
                let expected: Vec<_> = sent.iter().skip(which).step_by(2).collect();
                assert_eq!(
                    backend.receive(receiver.as_fd(), 0).unwrap(),
                    expected.len()
                );
                for (index, bytes) in expected.into_iter().enumerate() {
                    assert_eq!(backend.arrived(index).1, bytes);
                }
            }
        });
    }
}

#[test]
fn a_batch_of_the_largest_datagrams_arrives() {
    for_each_backend(|backend| {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let large = vec![7; 65_507];
        assert_eq!(backend.send(a.as_fd(), &[transmit(&large, &b); 2]), 2);
        assert_eq!(backend.receive(b.as_fd(), BATCH - 2).unwrap(), 2);
        assert_eq!(backend.arrived(BATCH - 1).1, large);
    });
}

#[test]
fn a_header_written_in_front_of_a_datagram_is_sent_with_it() {
    for_each_backend(|backend| {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        backend.send(a.as_fd(), &[transmit(b"payload", &b); 2]);
        assert_eq!(backend.receive(b.as_fd(), 0).unwrap(), 2);
        backend.slot(0)[..HEADROOM].fill(b'-');
        let whole = backend.slot(0)[..HEADROOM + 7].to_vec();
        assert_eq!(backend.send(b.as_fd(), &[transmit(&whole, &a)]), 1);
        assert_eq!(backend.receive(a.as_fd(), 2).unwrap(), 1);
        assert_eq!(backend.arrived(2).1, whole);
        assert_eq!(backend.arrived(1).1, b"payload");
    });
}

/// The kernel may combine datagrams of one sender; the stride separates them again.
#[cfg(target_os = "linux")]
#[test]
fn equal_datagrams_of_one_sender_arrive_in_one_slot_with_their_stride() {
    use nix::sys::socket::{setsockopt, sockopt};
    for (size, count, last) in [(1200, 16, 1200), (100, 64, 7), (1, 2, 1)] {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let cut = setsockopt(&a, sockopt::UdpGsoSegment, &(size as i32));
        if cut
            .and(setsockopt(&b, sockopt::UdpGroSegment, &true))
            .is_err()
        {
            eprintln!("skipped: this kernel does not support GSO and GRO");
            return;
        }
        let len = size * (count - 1) + last;
        let bytes: Vec<u8> = (0..len).map(|byte| (byte / size) as u8).collect();
        let to = b.local_addr().unwrap();
        assert_eq!(a.send_to(&bytes, to).unwrap(), len);
        assert_eq!(a.send_to(b"alone", to).unwrap(), 5);
        let mut slots = super::Receiver::new();
        let filled = slots.receive(b.as_fd(), 0..BATCH).unwrap();
        let (mut arrived, mut datagrams) = (Vec::new(), 0);
        for slot in 0..filled {
            let meta = slots.meta(slot).unwrap();
            assert_eq!(meta.addr, a.local_addr().unwrap());
            let whole = &slots.buffer.slot(slot)[HEADROOM..][..meta.len];
            arrived.extend_from_slice(whole);
            datagrams += whole.chunks(meta.stride).len();
        }
        assert_eq!(arrived, [&bytes[..], b"alone"].concat());
        assert_eq!(datagrams, count + 5_usize.div_ceil(size));
        assert!(filled < datagrams, "{filled} slots");
    }
}

/// A socket with an error queue, and an address at which nothing listens.
#[cfg(target_os = "linux")]
fn socket_with_error_queue(ip: &str) -> (UdpSocket, std::net::SocketAddr) {
    let address = std::net::SocketAddr::new(ip.parse().unwrap(), 0);
    let nobody = socket(ip).local_addr().unwrap();
    (
        crate::relay::sockets::relay_socket(address).unwrap(),
        nobody,
    )
}

#[cfg(target_os = "linux")]
#[test]
fn each_datagram_keeps_its_own_tos_when_several_leave_together() {
    for ip in ["127.0.0.1", "::1"] {
        if UdpSocket::bind((ip, 0)).is_err() {
            continue;
        }
        let (a, _) = socket_with_error_queue(ip);
        let (b, _) = socket_with_error_queue(ip);
        let tos_values = [0, 0, 0xb8, 0xb8, 0xb9, 0, 0xb8, 0x02];
        let batch = tos_values.map(|tos| Transmit {
            tos,
            ..transmit(&[7; 100], &b)
        });
        assert_eq!(
            super::Sender::new(true).send(a.as_fd(), batch.into_iter()),
            8
        );
        let mut slots = super::Receiver::new();
        assert_eq!(slots.receive(b.as_fd(), 0..BATCH).unwrap(), 8);
        let arrived = (0..8).map(|slot| slots.meta(slot).unwrap().tos);
        assert_eq!(arrived.collect::<Vec<_>>(), tos_values);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_error_of_an_earlier_datagram_does_not_lose_later_ones() {
    let (a, nobody) = socket_with_error_queue("127.0.0.1");
    let b = socket("127.0.0.1");
    let mut sender = super::Sender::new(true);
    let lost = Transmit {
        destination: nobody,
        ..transmit(b"x", &b)
    };
    for _ in 0..10 {
        assert_eq!(sender.send(a.as_fd(), [lost].into_iter()), 1);
        let batch = [transmit(b"one", &b), lost, transmit(b"three", &b)];
        assert_eq!(sender.send(a.as_fd(), batch.into_iter()), 3);
        let mut slots = super::Receiver::new();
        assert_eq!(slots.receive(b.as_fd(), 0..BATCH).unwrap(), 2);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn queued_errors_name_the_destination_of_their_datagram() {
    for (ip, kind, code) in [("127.0.0.1", 3, 3), ("::1", 1, 4)] {
        let (a, nobody) = socket_with_error_queue(ip);
        let mut sent = 0;
        while sent < super::MAX_ERRORS_PER_READ + 3 {
            // A call that reports the error of an earlier datagram sends nothing.
            sent += usize::from(a.send_to(b"anybody?", nobody).is_ok());
        }
        let mut errors = super::ErrorQueue::new();
        let mut heard = Vec::new();
        assert_eq!(
            errors.receive(a.as_fd(), |error| heard.push(error)),
            super::MAX_ERRORS_PER_READ
        );
        assert_eq!(errors.receive(a.as_fd(), |error| heard.push(error)), 3);
        assert_eq!(errors.receive(a.as_fd(), |error| heard.push(error)), 0);
        assert_eq!(heard.len(), sent);
        for error in heard {
            assert_eq!(
                (error.peer, error.kind, error.code),
                (nobody, kind, code),
                "{ip}"
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn gso_is_used_only_if_it_is_allowed() {
    use nix::sys::socket::{getsockopt, setsockopt, sockopt};
    for (allowed, messages) in [(true, 1), (false, 8)] {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let joins = setsockopt(&b, sockopt::UdpGroSegment, &true).is_ok();
        if !joins || getsockopt(&a, sockopt::UdpGsoSegment).is_err() {
            eprintln!("skipped: this kernel does not support GSO and GRO");
            return;
        }
        let batch = (0..8).map(|_| transmit(&[7; 100], &b));
        assert_eq!(super::Sender::new(allowed).send(a.as_fd(), batch), 8);
        let mut slots = super::Receiver::new();
        assert_eq!(slots.receive(b.as_fd(), 0..BATCH).unwrap(), messages);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn datagrams_dropped_by_a_full_receive_buffer_are_counted() {
    let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
    socket2::SockRef::from(&b)
        .set_recv_buffer_size(4096)
        .unwrap();
    assert_eq!(super::receive_drops(&b), 0);
    let sent = 200;
    for _ in 0..sent {
        a.send_to(&[7; 1000], b.local_addr().unwrap()).unwrap();
    }
    b.set_nonblocking(true).unwrap();
    let mut buffer = [0; 1000];
    let arrived = std::iter::from_fn(|| b.recv(&mut buffer).ok()).count();
    assert!(arrived < sent);
    assert_eq!(super::receive_drops(&b) as usize, sent - arrived);
}
