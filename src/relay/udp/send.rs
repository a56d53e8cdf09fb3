//! Sending by `sendmmsg`, and what goes to one place in one piece.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::sys::socket::{getsockopt, sockopt};

use super::cmsg::Control;
use super::dont_fragment::{allow_fragments, forbid_fragments};
use super::gso::Runs;
use super::{BATCH, Mark, Outgoing, address, zeroed_slice};

/// Batches without segments, at most, after messages in segments that were refused.
const LONGEST_BREAK: u32 = 1024;

/// Sends batches.
pub struct Sender {
    runs: Runs,
    /// The datagrams' bytes in the order in which they were given, and by their runs.
    parts: Box<[libc::iovec]>,
    vectors: Box<[libc::iovec]>,
    /// One of each for a run.
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    control_lens: [u8; BATCH],
    sources: [Option<IpAddr>; BATCH],
    marks: [Mark; BATCH],
    headers: Box<[libc::mmsghdr]>,
    /// The datagrams of a run that was refused as one message.
    singles: Box<[libc::mmsghdr]>,
    segments: Segments,
}

// SAFETY: the raw pointers inside are written anew from the datagrams at hand and `self`'s own
// buffers before each system call, and never read in between.
unsafe impl Send for Sender {}

/// Whether messages in segments are worth a try.
#[derive(Debug)]
struct Segments {
    /// Whether the kernel supports segmentation, which is checked once, and the configuration allows it.
    known: Option<bool>,
    /// Batches that go by without them, and how many the next refusal costs: devices and routes
    /// differ, and to try in vain costs a copy.
    rest: u32,
    penalty: u32,
}

/// `sendmmsg`: how many of the messages it took, or why not the first.
trait Kernel: FnMut(&mut [libc::mmsghdr]) -> io::Result<usize> {}

impl<F: FnMut(&mut [libc::mmsghdr]) -> io::Result<usize>> Kernel for F {}

enum Stop {
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
            runs: Runs::new(),
            parts: zeroed_slice(),
            vectors: zeroed_slice(),
            addresses: zeroed_slice(),
            controls: vec![Control::EMPTY; BATCH].into_boxed_slice(),
            control_lens: [0; BATCH],
            sources: [None; BATCH],
            marks: [0; BATCH],
            headers: zeroed_slice(),
            singles: zeroed_slice(),
            segments: Segments::new(segmented),
        }
    }

    /// Sends up to [`BATCH`] datagrams on `socket` and gives the number that the kernel took.
    ///
    /// What goes to one destination leaves in order. A datagram that the kernel refuses costs only
    /// itself; when the socket's buffer is full, what is left is lost.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> usize {
        let segments = self.segments.wanted(socket);
        self.send_by(segments, datagrams, |headers| {
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
    pub fn send_whole<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        ipv4: bool,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> usize {
        if forbid_fragments(&socket, ipv4).is_err() {
            return 0;
        }
        let taken = self.send(socket, datagrams);
        // It was allowed before.
        let _ = allow_fragments(&socket, ipv4);
        taken
    }

    fn send_by<'a>(
        &mut self,
        segments: bool,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
        mut kernel: impl Kernel,
    ) -> usize {
        self.runs.clear();
        for (index, datagram) in datagrams.take(BATCH).enumerate() {
            self.fill(index, &datagram, segments);
        }
        if !self.runs.are_single() {
            self.lay_out_runs();
        }
        self.submit(&mut kernel).taken
    }

    /// The slices behind `bytes` must live until [`Sender::submit`], which [`Sender::send`] sees to.
    fn fill(&mut self, index: usize, datagram: &Outgoing<'_>, segments: bool) {
        self.parts[index] = libc::iovec {
            iov_base: datagram.bytes.as_ptr().cast_mut().cast(),
            iov_len: datagram.bytes.len(),
        };
        let (to, from, len) = (datagram.to, datagram.from, datagram.bytes.len());
        let (addresses, sources) = (&self.addresses, &self.sources);
        let (mark, marks) = (datagram.mark, &self.marks);
        let is_same = |run: usize| {
            address::is(&addresses[run], to) && sources[run] == from && marks[run] == mark
        };
        let run = match segments {
            true => self.runs.add(to, len, is_same),
            false => Some(self.runs.add_alone(len)),
        };
        let Some(run) = run else {
            return;
        };
        let name_len = address::write(to, &mut self.addresses[run]);
        let control = &mut self.controls[run];
        let mut control_len = from.map_or(0, |from| control.add_source(0, from));
        if mark != 0 {
            control_len = control.add_mark(control_len, to.is_ipv4(), mark);
        }
        self.control_lens[run] = control_len as u8;
        self.sources[run] = from;
        self.marks[run] = mark;
        let header = &mut self.headers[run].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.addresses[run]).cast();
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

    /// Brings the bytes of each run together, and has the kernel cut them.
    fn lay_out_runs(&mut self) {
        let mut ends = [0; BATCH];
        let mut end = 0;
        for (run, start) in ends[..self.runs.len()].iter_mut().enumerate() {
            *start = end;
            end += self.runs.datagrams_of(run);
        }
        for (part, run) in self.parts.iter().zip(self.runs.of()) {
            let end = &mut ends[usize::from(*run)];
            self.vectors[*end] = *part;
            *end += 1;
        }
        for (run, end) in ends[..self.runs.len()].iter().enumerate() {
            let datagrams = self.runs.datagrams_of(run);
            if datagrams > 1 {
                let used = usize::from(self.control_lens[run]);
                let control = &mut self.controls[run];
                let used = control.add_segment_size(used, self.runs.size_of(run));
                let header = &mut self.headers[run].msg_hdr;
                header.msg_iov = self.vectors[end - datagrams..].as_mut_ptr();
                header.msg_iovlen = datagrams as _;
                header.msg_control = control.as_mut_ptr();
                header.msg_controllen = used as _;
            }
        }
    }

    fn submit(&mut self, kernel: &mut impl Kernel) -> Progress {
        let count = self.runs.len();
        let (mut done, mut taken) = (0, 0);
        loop {
            let (sent, stop) = push(&mut self.headers[done..count], kernel);
            taken += sent;
            if !self.runs.are_single() {
                let datagrams = (done..done + sent).map(|run| self.runs.datagrams_of(run));
                let more = datagrams.sum::<usize>() - sent;
                taken += more;
                self.segments.took(more);
            }
            done += sent;
            match stop {
                Stop::Done => return Progress { taken, full: false },
                Stop::Full => return Progress { taken, full: true },
                Stop::Refused if self.runs.datagrams_of(done) > 1 => {
                    self.segments.refused();
                    let singly = self.submit_singly(done, kernel);
                    taken += singly.taken;
                    if singly.full {
                        return Progress { taken, full: true };
                    }
                }
                Stop::Refused => {}
            }
            done += 1;
        }
    }

    /// Sends the datagrams of a run as if there were no runs.
    fn submit_singly(&mut self, run: usize, kernel: &mut impl Kernel) -> Progress {
        let start: usize = (0..run).map(|run| self.runs.datagrams_of(run)).sum();
        let count = self.runs.datagrams_of(run);
        let vectors = &mut self.vectors[start..][..count];
        for (single, vector) in self.singles.iter_mut().zip(vectors) {
            *single = self.headers[run];
            single.msg_hdr.msg_iov = vector;
            single.msg_hdr.msg_iovlen = 1;
            // The size of a segment comes last.
            single.msg_hdr.msg_controllen = self.control_lens[run] as _;
        }
        let (mut done, mut taken) = (0, 0);
        loop {
            let (sent, stop) = push(&mut self.singles[done..count], kernel);
            done += sent;
            taken += sent;
            match stop {
                Stop::Done => return Progress { taken, full: false },
                Stop::Full => return Progress { taken, full: true },
                Stop::Refused => done += 1,
            }
        }
    }
}

/// Gives how many messages the kernel took, and why no more.
///
/// What is said of a message may be about one that left before, to somebody else (`IP_RECVERR`):
/// it is at fault only when it is refused again.
fn push(mut headers: &mut [libc::mmsghdr], kernel: &mut impl Kernel) -> (usize, Stop) {
    let (mut sent, mut suspected) = (0, false);
    while !headers.is_empty() {
        match kernel(headers) {
            Ok(taken) => {
                sent += taken;
                suspected = false;
                headers = &mut headers[taken..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (sent, Stop::Full),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if !suspected => suspected = true,
            Err(_) => return (sent, Stop::Refused),
        }
    }
    (sent, Stop::Done)
}

impl Segments {
    fn new(allowed: bool) -> Segments {
        Segments {
            known: if allowed { None } else { Some(false) },
            rest: 0,
            penalty: 1,
        }
    }

    fn wanted(&mut self, socket: BorrowedFd<'_>) -> bool {
        // A kernel that does not know them would not read the control message, and send one large
        // datagram.
        let ask = || getsockopt(&socket, sockopt::UdpGsoSegment).is_ok();
        let known = *self.known.get_or_insert_with(ask);
        self.rest = self.rest.saturating_sub(1);
        known && self.rest == 0
    }

    /// So many datagrams left together with others before them.
    fn took(&mut self, joined: usize) {
        if joined > 0 {
            self.penalty = 1;
        }
    }

    fn refused(&mut self) {
        self.rest = 1 + self.penalty;
        self.penalty = (2 * self.penalty).min(LONGEST_BREAK);
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
    enum Mood {
        Takes,
        IsInterrupted,
        Refuses,
        RefusesSegments,
        IsFull,
    }

    fn moods() -> impl Strategy<Value = Vec<Mood>> {
        let mood = prop_oneof![
            8 => Just(Mood::Takes),
            1 => Just(Mood::IsInterrupted),
            2 => Just(Mood::Refuses),
            3 => Just(Mood::RefusesSegments),
            1 => Just(Mood::IsFull),
        ];
        // One that is interrupted for ever would be asked for ever.
        let moods = prop::collection::vec(mood, 0..80);
        moods.prop_map(|moods| [moods, vec![Mood::Takes]].concat())
    }

    /// The datagrams of a message, as the kernel cuts it, with where it goes.
    fn cut(header: &libc::msghdr) -> (SocketAddr, bool, Vec<Vec<u8>>) {
        // SAFETY: the sender under test has filled the header, and all that it points at lives.
        let (name, vectors, controls) = unsafe {
            let name = address::read(&*header.msg_name.cast()).unwrap();
            let vectors = slice::from_raw_parts(header.msg_iov, header.msg_iovlen);
            let controls: Vec<_> = super::super::cmsg::all(header).collect();
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

    fn send(datagrams: &[(SocketAddr, Vec<u8>)], segments: bool, moods: &[Mood]) -> Outcome {
        let mut arrived: HashMap<_, Vec<_>> = HashMap::new();
        let (mut refused, mut full, mut suspected) = (0, false, false);
        let mut moods = moods.iter().cycle();
        let outgoing = datagrams.iter().map(|(to, bytes)| Outgoing {
            bytes,
            to: *to,
            from: None,
            mark: 0,
        });
        let taken = Sender::new(true).send_by(segments, outgoing, |headers| {
            let mut done = 0;
            for header in headers.iter() {
                let (to, segmented, datagrams) = cut(&header.msg_hdr);
                let error = match moods.next() {
                    Some(Mood::IsInterrupted) => libc::EINTR,
                    Some(Mood::Refuses) => libc::EPERM,
                    Some(Mood::RefusesSegments) if segmented => libc::EMSGSIZE,
                    Some(Mood::IsFull) => libc::EAGAIN,
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
        fn whatever_the_kernel_says_each_datagram_arrives_once_in_order_or_is_counted(
            datagrams in any_datagrams(), segments: bool, moods in moods()
        ) {
            let outcome = send(&datagrams, segments, &moods);
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
    fn messages_in_segments_that_are_refused_are_tried_less_and_less_often() {
        let mut segments = Segments::new(true);
        segments.known = Some(true);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = std::os::fd::AsFd::as_fd(&socket);
        let mut tries = 0;
        for _ in 0..10_000 {
            if segments.wanted(socket) {
                tries += 1;
                segments.refused();
            }
        }
        assert!(tries < 30, "{tries}");
        while !segments.wanted(socket) {}
        segments.took(1);
        segments.refused();
        let pause = (0..).find(|_| segments.wanted(socket));
        assert_eq!(pause, Some(1));
    }
}
