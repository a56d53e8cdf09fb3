//! Packets from one shard to another: a bounded ring for each shard, and empties that all share.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::turn::{Route, ShardId, Transport};

use super::mailbox::{Mailbox, Order};
use super::udp::Mark;

/// Packets that may wait for one shard; past that they are lost, as in a socket's full buffer.
const RING: usize = 1024;

/// Bytes that an empty parcel keeps for the next packet: larger ones are rare.
const KEPT: usize = 2048;

/// A packet on its way to the shard that can do something with it.
pub struct Parcel {
    pub errand: Errand,
    /// DSCP and ECN that the packet came with.
    pub mark: Mark,
    bytes: Vec<u8>,
}

/// What the other shard is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Take this message of a client as if it had come to you.
    Client(Route),
    /// Deliver this data, sent between relayed addresses.
    Across {
        sender: Transport,
        from: SocketAddr,
        to: SocketAddr,
    },
    /// Give this message to a stream that you serve.
    Stream(u32),
}

/// The rings of a relay's shards.
pub struct Exchange {
    rings: Box<[ArrayQueue<Parcel>]>,
    empties: ArrayQueue<Parcel>,
}

impl Exchange {
    pub fn new(shards: usize) -> Arc<Exchange> {
        Arc::new(Exchange {
            rings: (0..shards).map(|_| ArrayQueue::new(RING)).collect(),
            empties: ArrayQueue::new(RING * shards),
        })
    }

    /// Hands a packet to a shard. False where too many wait there already.
    pub fn send(&self, shard: usize, errand: Errand, mark: Mark, bytes: &[u8]) -> bool {
        let mut parcel = self.empties.pop().unwrap_or_else(|| Parcel {
            errand,
            mark,
            bytes: Vec::with_capacity(KEPT),
        });
        (parcel.errand, parcel.mark) = (errand, mark);
        parcel.bytes.extend_from_slice(bytes);
        match self.rings[shard].push(parcel) {
            Ok(()) => true,
            Err(parcel) => {
                self.give_back(parcel);
                false
            }
        }
    }

    /// The next packet for a shard.
    pub fn next(&self, shard: usize) -> Option<Parcel> {
        self.rings[shard].pop()
    }

    /// An empty parcel for whoever sends next.
    pub fn give_back(&self, mut parcel: Parcel) {
        parcel.bytes.clear();
        parcel.bytes.shrink_to(KEPT);
        // There are no more of them than fit, unless every ring was full at once.
        let _ = self.empties.push(parcel);
    }
}

/// The other shards, as one of them sees them.
pub struct Neighbours {
    id: ShardId,
    exchange: Arc<Exchange>,
    mailboxes: Arc<[Mailbox]>,
    /// Who was sent something in this turn.
    to_wake: Vec<bool>,
}

impl Neighbours {
    pub fn new(id: ShardId, exchange: Arc<Exchange>) -> Neighbours {
        Neighbours {
            id,
            exchange,
            mailboxes: Arc::new([]),
            to_wake: Vec::new(),
        }
    }

    /// Learns how to wake the others. To be called before anything is sent.
    pub fn meet(&mut self, mailboxes: Arc<[Mailbox]>) {
        self.to_wake = vec![false; mailboxes.len()];
        self.mailboxes = mailboxes;
    }

    /// Hands a packet over; its shard is woken by [`Neighbours::wake`]. False where too many wait
    /// there already.
    pub fn send(&mut self, shard: ShardId, errand: Errand, mark: Mark, bytes: &[u8]) -> bool {
        let shard = usize::from(shard);
        self.to_wake[shard] = true;
        self.exchange.send(shard, errand, mark, bytes)
    }

    /// Gives every other shard an order.
    pub fn order(&self, order: impl Fn() -> Order) {
        for (shard, mailbox) in self.mailboxes.iter().enumerate() {
            if shard != usize::from(self.id) {
                mailbox.order(order());
            }
        }
    }

    /// The next packet that another shard has for this one.
    pub fn next(&self) -> Option<Parcel> {
        self.exchange.next(self.id.into())
    }

    /// Whether any is there.
    pub fn has_parcels(&self) -> bool {
        !self.exchange.rings[usize::from(self.id)].is_empty()
    }

    pub fn give_back(&self, parcel: Parcel) {
        self.exchange.give_back(parcel);
    }

    /// Wakes everybody who was sent something: once a turn.
    pub fn wake(&mut self) {
        for (mailbox, to_wake) in self.mailboxes.iter().zip(&mut self.to_wake) {
            if mem::take(to_wake) {
                mailbox.wake();
            }
        }
    }
}

impl Parcel {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRAND: Errand = Errand::Across {
        sender: Transport::Udp,
        from: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1),
        to: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2),
    };

    #[test]
    fn packets_arrive_in_order_at_their_shard_alone() {
        let exchange = Exchange::new(2);
        assert!(exchange.send(1, ERRAND, 46, b"first") && exchange.send(1, ERRAND, 0, b"second"));
        assert!(exchange.next(0).is_none());
        for (mark, text) in [(46, &b"first"[..]), (0, b"second")] {
            let parcel = exchange.next(1).expect("a parcel");
            assert_eq!((parcel.errand, parcel.mark), (ERRAND, mark));
            assert_eq!(parcel.bytes(), text);
            exchange.give_back(parcel);
        }
        assert!(exchange.next(1).is_none());
    }

    #[test]
    fn a_full_ring_takes_no_more_and_keeps_what_it_has() {
        let exchange = Exchange::new(1);
        let taken = (0..2 * RING).filter(|_| exchange.send(0, ERRAND, 0, b"x"));
        assert_eq!(taken.count(), RING);
        let waiting = std::iter::from_fn(|| exchange.next(0));
        assert_eq!(waiting.count(), RING);
    }

    #[test]
    fn a_parcel_that_held_a_giant_keeps_little() {
        let exchange = Exchange::new(1);
        exchange.send(0, ERRAND, 0, &[0; 65_000]);
        exchange.give_back(exchange.next(0).expect("a parcel"));
        let empty = exchange.empties.pop().expect("an empty");
        assert!(empty.bytes.capacity() < 2 * KEPT);
    }
}
