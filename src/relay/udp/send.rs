//! Sends batches of datagrams with `sendmmsg`.

use std::io;
use std::os::fd::BorrowedFd;

use super::batch::{Batch, BatchBuffers, Messages};
use super::dont_fragment::{allow_fragmentation, forbid_fragmentation};
use super::gso_support::GsoSupport;
use super::types::Transmit;

/// Sends batches of datagrams.
pub(crate) struct Sender {
    buffers: BatchBuffers,
    gso: GsoSupport,
}

impl Sender {
    /// `use_gso`: whether to use GSO if the kernel supports it.
    pub(crate) fn new(use_gso: bool) -> Sender {
        Sender {
            buffers: BatchBuffers::new(),
            gso: GsoSupport::new(use_gso),
        }
    }

    /// Sends up to [`BATCH`](super::BATCH) datagrams on `socket`, and returns how many the kernel took.
    ///
    /// Datagrams for one destination are sent in order. A datagram that the kernel refuses does not affect
    /// the others. After the send buffer of the socket is full, the rest of the batch is dropped.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Transmit<'a>>,
    ) -> usize {
        let use_gso = self.gso.should_use(socket);
        let mut batch = self.buffers.fill(datagrams, use_gso);
        submit(
            &mut batch,
            &mut |messages| messages.send(socket),
            &mut self.gso,
        )
    }

    /// Sends like [`Sender::send`], with fragmentation forbidden. `ipv4` is the family of the socket.
    ///
    /// A datagram that exceeds the MTU is lost, and the socket's error queue reports it. The option belongs
    /// to the socket, not to a message: it is set and reset for each batch.
    pub(crate) fn send_dont_fragment<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        ipv4: bool,
        datagrams: impl Iterator<Item = Transmit<'a>>,
    ) -> usize {
        if forbid_fragmentation(&socket, ipv4).is_err() {
            return 0;
        }
        let taken = self.send(socket, datagrams);
        // This cannot fail: the same call succeeded when the socket was created.
        let _ = allow_fragmentation(&socket, ipv4);
        taken
    }
}

/// `sendmmsg`: returns how many messages it took, or why it refused the first.
trait Kernel: FnMut(&mut Messages<'_>) -> io::Result<usize> {}

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
fn submit(batch: &mut Batch<'_>, kernel: &mut impl Kernel, gso: &mut GsoSupport) -> usize {
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
mod tests;
