//! The datagrams that a shard sends at the end of a tick, in batches.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::udp::{BATCH, Buffer, Sender, Tos, Transmit};

/// Queued datagrams, by the socket that sends them.
pub(super) struct SendQueue {
    /// The responses of this tick, one after the other.
    responses: Vec<u8>,
    /// Datagrams to clients, by listener.
    to_clients: Vec<Vec<QueuedTransmit>>,
    /// Datagrams to peers, each with its relay socket.
    to_peers: Vec<(usize, QueuedTransmit)>,
    sender: Sender,
}

/// A queued datagram.
pub(super) struct QueuedTransmit {
    pub location: PayloadLocation,
    pub range: Range<usize>,
    pub destination: SocketAddr,
    pub src_ip: Option<IpAddr>,
    /// Whether it must not be fragmented.
    pub dont_fragment: bool,
    pub tos: Tos,
}

/// The buffer that holds the payload of a queued datagram.
#[derive(Clone, Copy)]
pub(super) enum PayloadLocation {
    /// A slot or a segment of the receive buffer.
    Slot(usize),
    /// The responses in the send queue.
    Responses,
}

impl SendQueue {
    /// `segmented`: whether equally long datagrams may be sent as one message that the kernel segments.
    pub(super) fn new(listeners: usize, segmented: bool) -> SendQueue {
        SendQueue {
            responses: Vec::new(),
            to_clients: (0..listeners).map(|_| Vec::new()).collect(),
            to_peers: Vec::new(),
            sender: Sender::new(segmented),
        }
    }

    /// Adds a response, and returns its range.
    pub(super) fn push_response(&mut self, response: &[u8]) -> Range<usize> {
        let start = self.responses.len();
        self.responses.extend_from_slice(response);
        start..self.responses.len()
    }

    pub(super) fn push_to_client(&mut self, listener: usize, queued: QueuedTransmit) {
        self.to_clients[listener].push(queued);
    }

    pub(super) fn push_to_peer(&mut self, socket: usize, queued: QueuedTransmit) {
        self.to_peers.push((socket, queued));
    }

    pub(super) fn bytes<'a>(
        &'a self,
        buffer: &'a Buffer,
        location: PayloadLocation,
        range: Range<usize>,
    ) -> &'a [u8] {
        bytes(&self.responses, buffer, location, range)
    }

    /// Sends all queued datagrams, and returns how many the kernel did not take.
    pub(super) fn send<'a>(
        &mut self,
        buffer: &Buffer,
        listener: impl Fn(usize) -> BorrowedFd<'a>,
        relay: impl Fn(usize) -> Option<BorrowedFd<'a>>,
    ) -> usize {
        let responses = &self.responses;
        let transmit = |queued: &QueuedTransmit| Transmit {
            contents: bytes(responses, buffer, queued.location, queued.range.clone()),
            destination: queued.destination,
            src_ip: queued.src_ip,
            tos: queued.tos,
        };
        let mut unsent = 0;
        for (index, waiting) in self.to_clients.iter_mut().enumerate() {
            for batch in waiting.chunks(BATCH) {
                let datagrams = batch.iter().map(transmit);
                unsent += batch.len() - self.sender.send(listener(index), datagrams);
            }
            waiting.clear();
        }
        // Fragmentation is an option of the socket: a batch has one socket and one value.
        let same = |(a, x): &(usize, QueuedTransmit), (b, y): &(usize, QueuedTransmit)| {
            a == b && x.dont_fragment == y.dont_fragment
        };
        for run in self.to_peers.chunk_by(same) {
            for batch in run.chunks(BATCH) {
                let datagrams = batch.iter().map(|(_, queued)| transmit(queued));
                let (socket, first) = (relay(batch[0].0), &batch[0].1);
                let taken = socket.map_or(0, |socket| {
                    if first.dont_fragment {
                        let ipv4 = first.destination.is_ipv4();
                        self.sender.send_dont_fragment(socket, ipv4, datagrams)
                    } else {
                        self.sender.send(socket, datagrams)
                    }
                });
                unsent += batch.len() - taken;
            }
        }
        self.to_peers.clear();
        self.responses.clear();
        unsent
    }
}

fn bytes<'a>(
    responses: &'a [u8],
    buffer: &'a Buffer,
    location: PayloadLocation,
    range: Range<usize>,
) -> &'a [u8] {
    match location {
        PayloadLocation::Slot(slot) => &buffer.slot(slot)[range],
        PayloadLocation::Responses => &responses[range],
    }
}
