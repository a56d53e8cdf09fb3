//! What leaves at the end of a shard's turn: datagrams that wait, where their bytes are, and the
//! batches that they leave in.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::udp::{BATCH, Mark, Outgoing, Room, Sender};

pub struct Departures {
    /// Answers of this turn, one after the other.
    answers: Vec<u8>,
    /// By the listener that they leave through.
    to_clients: Vec<Vec<Pending>>,
    /// With the relay socket that they leave through.
    to_peers: Vec<(usize, Pending)>,
    sender: Sender,
}

/// A datagram that leaves at the end of the turn.
pub struct Pending {
    pub place: Place,
    pub range: Range<usize>,
    pub to: SocketAddr,
    pub from: Option<IpAddr>,
    /// Whether it may not be cut into fragments.
    pub whole: bool,
    pub mark: Mark,
}

#[derive(Clone, Copy)]
pub enum Place {
    /// A slot or a piece of one.
    Slot(usize),
    Answers,
}

impl Departures {
    /// `segmented`: whether equally long datagrams may be sent as one message that the kernel segments.
    pub fn new(listeners: usize, segmented: bool) -> Departures {
        Departures {
            answers: Vec::new(),
            to_clients: (0..listeners).map(|_| Vec::new()).collect(),
            to_peers: Vec::new(),
            sender: Sender::new(segmented),
        }
    }

    /// Puts an answer behind those that already wait.
    pub fn keep_answer(&mut self, answer: &[u8]) -> Range<usize> {
        let start = self.answers.len();
        self.answers.extend_from_slice(answer);
        start..self.answers.len()
    }

    pub fn push_to_client(&mut self, listener: usize, pending: Pending) {
        self.to_clients[listener].push(pending);
    }

    pub fn push_to_peer(&mut self, socket: usize, pending: Pending) {
        self.to_peers.push((socket, pending));
    }

    pub fn bytes<'a>(&'a self, room: &'a Room, place: Place, range: Range<usize>) -> &'a [u8] {
        bytes(&self.answers, room, place, range)
    }

    /// Sends everything that waits, and says how many datagrams were not taken.
    pub fn send<'a>(
        &mut self,
        room: &Room,
        listener: impl Fn(usize) -> BorrowedFd<'a>,
        relay: impl Fn(usize) -> Option<BorrowedFd<'a>>,
    ) -> usize {
        let answers = &self.answers;
        let outgoing = |pending: &Pending| Outgoing {
            bytes: bytes(answers, room, pending.place, pending.range.clone()),
            to: pending.to,
            from: pending.from,
            mark: pending.mark,
        };
        let mut unsent = 0;
        for (index, waiting) in self.to_clients.iter_mut().enumerate() {
            for batch in waiting.chunks(BATCH) {
                let datagrams = batch.iter().map(outgoing);
                unsent += batch.len() - self.sender.send(listener(index), datagrams);
            }
            waiting.clear();
        }
        // Whether fragments are made is the socket's affair.
        let same =
            |(a, x): &(usize, Pending), (b, y): &(usize, Pending)| a == b && x.whole == y.whole;
        for run in self.to_peers.chunk_by(same) {
            for batch in run.chunks(BATCH) {
                let datagrams = batch.iter().map(|(_, pending)| outgoing(pending));
                let (socket, first) = (relay(batch[0].0), &batch[0].1);
                let taken = socket.map_or(0, |socket| match first.whole {
                    true => {
                        let ipv4 = first.to.is_ipv4();
                        self.sender.send_whole(socket, ipv4, datagrams)
                    }
                    false => self.sender.send(socket, datagrams),
                });
                unsent += batch.len() - taken;
            }
        }
        self.to_peers.clear();
        self.answers.clear();
        unsent
    }
}

fn bytes<'a>(answers: &'a [u8], room: &'a Room, place: Place, range: Range<usize>) -> &'a [u8] {
    match place {
        Place::Slot(slot) => &room.at(slot)[range],
        Place::Answers => &answers[range],
    }
}
