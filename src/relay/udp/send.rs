//! Sending by `sendmmsg`, and what goes to one place in one piece.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::sys::socket::{getsockopt, sockopt};

use super::cmsg::CmsgBuffer;
use super::dont_fragment::{allow_fragmentation, forbid_fragmentation};
use super::gso::GsoGroups;
use super::{BATCH, Tos, Transmit, address, zeroed_slice};

/// Batches without segments, at most, after messages in segments that were refused.
const MAX_SKIPPED_BATCHES: u32 = 1024;

/// Sends batches.
pub struct Sender {
    groups: GsoGroups,
    /// The datagrams' bytes in the order in which they were given, and by their groups.
    parts: Box<[libc::iovec]>,
    vectors: Box<[libc::iovec]>,
    /// One of each for a group.
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[CmsgBuffer]>,
    control_lens: [u8; BATCH],
    src_ips: [Option<IpAddr>; BATCH],
    tos_values: [Tos; BATCH],
    headers: Box<[libc::mmsghdr]>,
    /// The datagrams of a group that was refused as one message.
    singles: Box<[libc::mmsghdr]>,
    gso: GsoSupport,
}

// SAFETY: the raw pointers inside are written anew from the datagrams at hand and `self`'s own
// buffers before each system call, and never read in between.
unsafe impl Send for Sender {}

/// Whether messages in segments are worth a try.
#[derive(Debug)]
struct GsoSupport {
    /// Whether the kernel supports segmentation, which is checked once, and the configuration allows it.
    supported: Option<bool>,
    /// Batches that go by without them, and how many the next refusal costs: devices and routes
    /// differ, and to try in vain costs a copy.
    skip: u32,
    penalty: u32,
}

/// `sendmmsg`: how many of the messages it took, or why not the first.
trait Kernel: FnMut(&mut [libc::mmsghdr]) -> io::Result<usize> {}

impl<F: FnMut(&mut [libc::mmsghdr]) -> io::Result<usize>> Kernel for F {}

enum Stopped {
    Done,
    /// The socket's buffer has no room.
    Full,
    /// The next message is at fault.
    Refused,
}

/// How far a list of messages came.
struct Progress {
    /// Datagrams that the kernel took.
    taken: usize,
    full: bool,
}

impl Sender {
    /// `segmented`: whether to use segmentation if the kernel supports it.
    pub fn new(segmented: bool) -> Sender {
        Sender {
            groups: GsoGroups::new(),
            parts: zeroed_slice(),
            vectors: zeroed_slice(),
            addresses: zeroed_slice(),
            controls: vec![CmsgBuffer::EMPTY; BATCH].into_boxed_slice(),
            control_lens: [0; BATCH],
            src_ips: [None; BATCH],
            tos_values: [0; BATCH],
            headers: zeroed_slice(),
            singles: zeroed_slice(),
            gso: GsoSupport::new(segmented),
        }
    }

    /// Sends up to [`BATCH`] datagrams on `socket` and gives the number that the kernel took.
    ///
    /// What goes to one destination leaves in order. A datagram that the kernel refuses costs only
    /// itself; when the socket's buffer is full, what is left is lost.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Transmit<'a>>,
    ) -> usize {
        let use_gso = self.gso.should_use(socket);
        self.send_by(use_gso, datagrams, |headers| {
            // SAFETY: `send_by` hands over headers that it has filled from slices that our caller
            // still borrows and from buffers of `self`; the kernel only reads what they point at.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            usize::try_from(sent).map_err(|_| io::Error::last_os_error())
        })
    }

    /// The same for datagrams that may not be cut into fragments; `ipv4` is the socket's family. What
    /// is too large for the way costs only itself, and the socket's queue of errors says so.
    pub fn send_dont_fragment<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        ipv4: bool,
        datagrams: impl Iterator<Item = Transmit<'a>>,
    ) -> usize {
        if forbid_fragmentation(&socket, ipv4).is_err() {
            return 0;
        }
        let taken = self.send(socket, datagrams);
        // It was allowed before.
        let _ = allow_fragmentation(&socket, ipv4);
        taken
    }

    fn send_by<'a>(
        &mut self,
        use_gso: bool,
        datagrams: impl Iterator<Item = Transmit<'a>>,
        mut kernel: impl Kernel,
    ) -> usize {
        self.groups.clear();
        for (index, datagram) in datagrams.take(BATCH).enumerate() {
            self.fill(index, &datagram, use_gso);
        }
        if !self.groups.all_single() {
            self.lay_out_groups();
        }
        self.submit(&mut kernel).taken
    }

    /// The slices behind `bytes` must live until [`Sender::submit`], which [`Sender::send`] sees to.
    fn fill(&mut self, index: usize, datagram: &Transmit<'_>, use_gso: bool) {
        self.parts[index] = libc::iovec {
            iov_base: datagram.contents.as_ptr().cast_mut().cast(),
            iov_len: datagram.contents.len(),
        };
        let (to, from, len) = (
            datagram.destination,
            datagram.src_ip,
            datagram.contents.len(),
        );
        let (addresses, src_ips) = (&self.addresses, &self.src_ips);
        let (tos, tos_values) = (datagram.tos, &self.tos_values);
        let is_same = |group: usize| {
            address::is(&addresses[group], to) && src_ips[group] == from && tos_values[group] == tos
        };
        let group = match use_gso {
            true => self.groups.add(to, len, is_same),
            false => Some(self.groups.add_single(len)),
        };
        let Some(group) = group else {
            return;
        };
        let name_len = address::write(to, &mut self.addresses[group]);
        let control = &mut self.controls[group];
        let mut control_len = from.map_or(0, |from| control.add_source(0, from));
        if tos != 0 {
            control_len = control.add_tos(control_len, to.is_ipv4(), tos);
        }
        self.control_lens[group] = control_len as u8;
        self.src_ips[group] = from;
        self.tos_values[group] = tos;
        let header = &mut self.headers[group].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.addresses[group]).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &mut self.parts[index];
        header.msg_iovlen = 1;
        header.msg_control = match control_len {
            0 => ptr::null_mut(),
            _ => control.as_mut_ptr(),
        };
        header.msg_controllen = control_len as _;
        header.msg_flags = 0;
    }

    /// Brings the bytes of each group together, and has the kernel cut them.
    fn lay_out_groups(&mut self) {
        let mut ends = [0; BATCH];
        let mut end = 0;
        for (group, start) in ends[..self.groups.len()].iter_mut().enumerate() {
            *start = end;
            end += self.groups.datagrams_in(group);
        }
        for (part, group) in self.parts.iter().zip(self.groups.group_of_each()) {
            let end = &mut ends[usize::from(*group)];
            self.vectors[*end] = *part;
            *end += 1;
        }
        for (group, end) in ends[..self.groups.len()].iter().enumerate() {
            let datagrams = self.groups.datagrams_in(group);
            if datagrams > 1 {
                let used = usize::from(self.control_lens[group]);
                let control = &mut self.controls[group];
                let used = control.add_segment_size(used, self.groups.segment_size(group));
                let header = &mut self.headers[group].msg_hdr;
                header.msg_iov = self.vectors[end - datagrams..].as_mut_ptr();
                header.msg_iovlen = datagrams as _;
                header.msg_control = control.as_mut_ptr();
                header.msg_controllen = used as _;
            }
        }
    }

    fn submit(&mut self, kernel: &mut impl Kernel) -> Progress {
        let count = self.groups.len();
        let (mut done, mut taken) = (0, 0);
        loop {
            let (sent, stop) = submit_messages(&mut self.headers[done..count], kernel);
            taken += sent;
            if !self.groups.all_single() {
                let datagrams = (done..done + sent).map(|group| self.groups.datagrams_in(group));
                let more = datagrams.sum::<usize>() - sent;
                taken += more;
                self.gso.on_sent(more);
            }
            done += sent;
            match stop {
                Stopped::Done => return Progress { taken, full: false },
                Stopped::Full => return Progress { taken, full: true },
                Stopped::Refused if self.groups.datagrams_in(done) > 1 => {
                    self.gso.on_refused();
                    let singly = self.submit_singly(done, kernel);
                    taken += singly.taken;
                    if singly.full {
                        return Progress { taken, full: true };
                    }
                }
                Stopped::Refused => {}
            }
            done += 1;
        }
    }

    /// Sends the datagrams of a group as if there were no groups.
    fn submit_singly(&mut self, group: usize, kernel: &mut impl Kernel) -> Progress {
        let start: usize = (0..group)
            .map(|group| self.groups.datagrams_in(group))
            .sum();
        let count = self.groups.datagrams_in(group);
        let vectors = &mut self.vectors[start..][..count];
        for (single, vector) in self.singles.iter_mut().zip(vectors) {
            *single = self.headers[group];
            single.msg_hdr.msg_iov = vector;
            single.msg_hdr.msg_iovlen = 1;
            // The size of a segment comes last.
            single.msg_hdr.msg_controllen = self.control_lens[group] as _;
        }
        let (mut done, mut taken) = (0, 0);
        loop {
            let (sent, stop) = submit_messages(&mut self.singles[done..count], kernel);
            done += sent;
            taken += sent;
            match stop {
                Stopped::Done => return Progress { taken, full: false },
                Stopped::Full => return Progress { taken, full: true },
                Stopped::Refused => done += 1,
            }
        }
    }
}

/// Gives how many messages the kernel took, and why no more.
///
/// What is said of a message may be about one that left before, to somebody else (`IP_RECVERR`):
/// it is at fault only when it is refused again.
fn submit_messages(
    mut headers: &mut [libc::mmsghdr],
    kernel: &mut impl Kernel,
) -> (usize, Stopped) {
    let (mut sent, mut suspected) = (0, false);
    while !headers.is_empty() {
        match kernel(headers) {
            Ok(taken) => {
                sent += taken;
                suspected = false;
                headers = &mut headers[taken..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return (sent, Stopped::Full);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if !suspected => suspected = true,
            Err(_) => return (sent, Stopped::Refused),
        }
    }
    (sent, Stopped::Done)
}

impl GsoSupport {
    fn new(allowed: bool) -> GsoSupport {
        GsoSupport {
            supported: if allowed { None } else { Some(false) },
            skip: 0,
            penalty: 1,
        }
    }

    fn should_use(&mut self, socket: BorrowedFd<'_>) -> bool {
        // A kernel that does not know them would not read the control message, and send one large
        // datagram.
        let ask = || getsockopt(&socket, sockopt::UdpGsoSegment).is_ok();
        let supported = *self.supported.get_or_insert_with(ask);
        self.skip = self.skip.saturating_sub(1);
        supported && self.skip == 0
    }

    /// So many datagrams left together with others before them.
    fn on_sent(&mut self, joined: usize) {
        if joined > 0 {
            self.penalty = 1;
        }
    }

    fn on_refused(&mut self) {
        self.skip = 1 + self.penalty;
        self.penalty = (2 * self.penalty).min(MAX_SKIPPED_BATCHES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::net::SocketAddr;
    use std::slice;

    /// What the model of a kernel says to the next message, whoever it is for.
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
        // One that is interrupted for ever would be asked for ever.
        let replies = prop::collection::vec(reply, 0..80);
        replies.prop_map(|replies| [replies, vec![KernelReply::Accept]].concat())
    }

    /// The datagrams of a message, as the kernel cuts it, with where it goes.
    fn split_gso(header: &libc::msghdr) -> (SocketAddr, bool, Vec<Vec<u8>>) {
        // SAFETY: the sender under test has filled the header, and all that it points at lives.
        let (name, vectors, controls) = unsafe {
            let name = address::read(&*header.msg_name.cast()).unwrap();
            let vectors = slice::from_raw_parts(header.msg_iov, header.msg_iovlen);
            let controls: Vec<_> = super::super::cmsg::messages(header).collect();
            (name, vectors, controls)
        };
        let mut bytes = Vec::new();
        for vector in vectors {
            // SAFETY: as above.
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

    /// What arrived where, how many the sender says were taken, and how many were refused.
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
        let taken = Sender::new(true).send_by(use_gso, transmits, |headers| {
            let mut done = 0;
            for header in headers.iter() {
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
                // As the kernel does: what it took before counts, the error is told the next time.
                if done > 0 {
                    break;
                }
                if ![libc::EINTR, libc::EAGAIN].contains(&error) {
                    // Once may be about another one.
                    refused += usize::from(suspected && !segmented);
                    suspected = !suspected;
                }
                full |= error == libc::EAGAIN;
                return Err(io::Error::from_raw_os_error(error));
            }
            Ok(done)
        });
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

    #[test]
    fn refused_gso_messages_are_retried_at_growing_intervals() {
        let mut support = GsoSupport::new(true);
        support.supported = Some(true);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = std::os::fd::AsFd::as_fd(&socket);
        let mut tries = 0;
        for _ in 0..10_000 {
            if support.should_use(socket) {
                tries += 1;
                support.on_refused();
            }
        }
        assert!(tries < 30, "{tries}");
        while !support.should_use(socket) {}
        support.on_sent(1);
        support.on_refused();
        let pause = (0..).find(|_| support.should_use(socket));
        assert_eq!(pause, Some(1));
    }
}
