//! Sends batches of datagrams with `sendmmsg`.

use std::os::fd::BorrowedFd;

use super::batch::BatchBuffers;
use super::dont_fragment::{allow_fragmentation, forbid_fragmentation};
use super::gso_support::GsoSupport;
use super::submit::submit;
use super::types::Transmit;

/// Sends batches of datagrams.
pub struct Sender {
    buffers: BatchBuffers,
    gso: GsoSupport,
}

impl Sender {
    /// `use_gso`: whether to use GSO if the kernel supports it.
    pub fn new(use_gso: bool) -> Sender {
        Sender {
            buffers: BatchBuffers::new(),
            gso: GsoSupport::new(use_gso),
        }
    }

    /// Sends up to [`BATCH`](super::BATCH) datagrams on `socket`, and returns how many the kernel took.
    ///
    /// Datagrams for one destination are sent in order. A datagram that the kernel refuses does not affect
    /// the others. After the send buffer of the socket is full, the rest of the batch is dropped.
    pub fn send<'a>(
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
        // This cannot fail: the same call succeeded when the socket was created.
        let _ = allow_fragmentation(&socket, ipv4);
        taken
    }
}
