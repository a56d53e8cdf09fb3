//! Packets from one shard to another: a bounded queue for each shard, and pool that all share.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::turn::{Route, ShardId, Transport};

use super::mailbox::{Command, Mailbox};
use super::udp::Tos;

/// Packets that may wait for one shard; past that they are lost, as in a socket's full buffer.
const QUEUE_CAPACITY: usize = 1024;

/// Bytes that an empty packet keeps for the next packet: larger ones are rare.
const POOLED_BUFFER_BYTES: usize = 2048;

/// A packet on its way to the shard that can do something with it.
pub struct ShardPacket {
    pub handoff: Handoff,
    /// DSCP and ECN that the packet came with.
    pub tos: Tos,
    bytes: Vec<u8>,
}

/// What the other shard is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handoff {
    /// Take this message of a client as if it had come to you.
    ClientMessage(Route),
    /// Deliver this data, sent between relayed addresses.
    Relayed {
        sender: Transport,
        from: SocketAddr,
        to: SocketAddr,
    },
    /// Give this message to a stream that you serve.
    StreamMessage(u32),
}

/// The queues of a relay's shards.
pub struct ShardQueues {
    queues: Box<[ArrayQueue<ShardPacket>]>,
    pool: ArrayQueue<ShardPacket>,
}

impl ShardQueues {
    pub fn new(shards: usize) -> Arc<ShardQueues> {
        Arc::new(ShardQueues {
            queues: (0..shards)
                .map(|_| ArrayQueue::new(QUEUE_CAPACITY))
                .collect(),
            pool: ArrayQueue::new(QUEUE_CAPACITY * shards),
        })
    }

    /// Hands a packet to a shard. False where too many wait there already.
    pub fn send(&self, shard: usize, handoff: Handoff, tos: Tos, bytes: &[u8]) -> bool {
        let mut packet = self.pool.pop().unwrap_or_else(|| ShardPacket {
            handoff,
            tos,
            bytes: Vec::with_capacity(POOLED_BUFFER_BYTES),
        });
        (packet.handoff, packet.tos) = (handoff, tos);
        packet.bytes.extend_from_slice(bytes);
        match self.queues[shard].push(packet) {
            Ok(()) => true,
            Err(packet) => {
                self.recycle(packet);
                false
            }
        }
    }

    /// The next packet for a shard.
    pub fn next(&self, shard: usize) -> Option<ShardPacket> {
        self.queues[shard].pop()
    }

    /// An empty packet for whoever sends next.
    pub fn recycle(&self, mut packet: ShardPacket) {
        packet.bytes.clear();
        packet.bytes.shrink_to(POOLED_BUFFER_BYTES);
        // There are no more of them than fit, unless every queue was full at once.
        let _ = self.pool.push(packet);
    }
}

/// The other shards, as one of them sees them.
pub struct ShardLinks {
    id: ShardId,
    queues: Arc<ShardQueues>,
    mailboxes: Arc<[Mailbox]>,
    /// Who was sent something in this turn.
    to_wake: Vec<bool>,
}

impl ShardLinks {
    pub fn new(id: ShardId, queues: Arc<ShardQueues>) -> ShardLinks {
        ShardLinks {
            id,
            queues,
            mailboxes: Arc::new([]),
            to_wake: Vec::new(),
        }
    }

    /// Learns how to wake the others. To be called before anything is sent.
    pub fn connect(&mut self, mailboxes: Arc<[Mailbox]>) {
        self.to_wake = vec![false; mailboxes.len()];
        self.mailboxes = mailboxes;
    }

    /// Hands a packet over; its shard is woken by [`ShardLinks::wake`]. False where too many wait
    /// there already.
    pub fn send(&mut self, shard: ShardId, handoff: Handoff, tos: Tos, bytes: &[u8]) -> bool {
        let shard = usize::from(shard);
        self.to_wake[shard] = true;
        self.queues.send(shard, handoff, tos, bytes)
    }

    /// Gives every other shard an order.
    pub fn broadcast(&self, command: impl Fn() -> Command) {
        for (shard, mailbox) in self.mailboxes.iter().enumerate() {
            if shard != usize::from(self.id) {
                mailbox.send(command());
            }
        }
    }

    /// The next packet that another shard has for this one.
    pub fn next(&self) -> Option<ShardPacket> {
        self.queues.next(self.id.into())
    }

    /// Whether any is there.
    pub fn has_packets(&self) -> bool {
        !self.queues.queues[usize::from(self.id)].is_empty()
    }

    pub fn recycle(&self, packet: ShardPacket) {
        self.queues.recycle(packet);
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

impl ShardPacket {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDOFF: Handoff = Handoff::Relayed {
        sender: Transport::Udp,
        from: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1),
        to: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2),
    };

    #[test]
    fn packets_arrive_in_order_and_only_at_their_shard() {
        let queues = ShardQueues::new(2);
        assert!(queues.send(1, HANDOFF, 46, b"first") && queues.send(1, HANDOFF, 0, b"second"));
        assert!(queues.next(0).is_none());
        for (tos, text) in [(46, &b"first"[..]), (0, b"second")] {
            let packet = queues.next(1).expect("a packet");
            assert_eq!((packet.handoff, packet.tos), (HANDOFF, tos));
            assert_eq!(packet.bytes(), text);
            queues.recycle(packet);
        }
        assert!(queues.next(1).is_none());
    }

    #[test]
    fn a_full_queue_rejects_packets_and_keeps_its_contents() {
        let queues = ShardQueues::new(1);
        let taken = (0..2 * QUEUE_CAPACITY).filter(|_| queues.send(0, HANDOFF, 0, b"x"));
        assert_eq!(taken.count(), QUEUE_CAPACITY);
        let waiting = std::iter::from_fn(|| queues.next(0));
        assert_eq!(waiting.count(), QUEUE_CAPACITY);
    }

    #[test]
    fn a_pooled_packet_releases_a_large_buffer() {
        let queues = ShardQueues::new(1);
        queues.send(0, HANDOFF, 0, &[0; 65_000]);
        queues.recycle(queues.next(0).expect("a packet"));
        let pooled = queues.pool.pop().expect("a pooled packet");
        assert!(pooled.bytes.capacity() < 2 * POOLED_BUFFER_BYTES);
    }
}
