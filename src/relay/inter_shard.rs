//! Packets between shards: a bounded queue for each shard, and a shared pool of empty packets.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::turn::{Route, ShardId, Transport};

use super::mailbox::{Command, Mailbox};
use super::udp::Tos;

/// Maximum number of packets queued for a shard. Further ones are lost, as with a full socket buffer.
const QUEUE_CAPACITY: usize = 1024;

/// Maximum size of the buffer of a pooled packet. Larger packets are rare.
const POOLED_BUFFER_BYTES: usize = 2048;

/// A packet for another shard.
pub(super) struct ShardPacket {
    pub handoff: Handoff,
    /// DSCP and ECN that the packet came with.
    pub tos: Tos,
    bytes: Vec<u8>,
}

/// The task of the other shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handoff {
    /// Handle this message of a client like a received one.
    ClientMessage(Route),
    /// Deliver this data, which was sent from one relayed address to another.
    Relayed {
        sender: Transport,
        from: SocketAddr,
        to: SocketAddr,
    },
    /// Send this message to a stream of yours.
    StreamMessage(u32),
}

/// The queues of all shards of a relay.
pub(super) struct ShardQueues {
    queues: Box<[ArrayQueue<ShardPacket>]>,
    pool: ArrayQueue<ShardPacket>,
}

impl ShardQueues {
    pub(super) fn new(shards: usize) -> Arc<ShardQueues> {
        Arc::new(ShardQueues {
            queues: (0..shards)
                .map(|_| ArrayQueue::new(QUEUE_CAPACITY))
                .collect(),
            pool: ArrayQueue::new(QUEUE_CAPACITY * shards),
        })
    }

    /// Queues a packet for a shard. Returns false if the queue is full.
    pub(super) fn send(&self, shard: usize, handoff: Handoff, tos: Tos, bytes: &[u8]) -> bool {
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

    /// Takes the next packet for a shard.
    pub(super) fn next(&self, shard: usize) -> Option<ShardPacket> {
        self.queues[shard].pop()
    }

    /// Returns a packet to the pool.
    pub(super) fn recycle(&self, mut packet: ShardPacket) {
        packet.bytes.clear();
        packet.bytes.shrink_to(POOLED_BUFFER_BYTES);
        // The pool is large enough, unless every queue was full at the same time.
        let _ = self.pool.push(packet);
    }
}

/// The access of one shard to the others.
pub(super) struct ShardLinks {
    id: ShardId,
    queues: Arc<ShardQueues>,
    mailboxes: Arc<[Mailbox]>,
    /// Whether a packet was sent to a shard in this tick.
    to_wake: Vec<bool>,
}

impl ShardLinks {
    pub(super) fn new(id: ShardId, queues: Arc<ShardQueues>) -> ShardLinks {
        ShardLinks {
            id,
            queues,
            mailboxes: Arc::new([]),
            to_wake: Vec::new(),
        }
    }

    /// Sets the mailboxes of all shards, before anything is sent.
    pub(super) fn connect(&mut self, mailboxes: Arc<[Mailbox]>) {
        self.to_wake = vec![false; mailboxes.len()];
        self.mailboxes = mailboxes;
    }

    /// Queues a packet; [`ShardLinks::wake`] wakes its shard. Returns false if the queue is full.
    pub(super) fn send(
        &mut self,
        shard: ShardId,
        handoff: Handoff,
        tos: Tos,
        bytes: &[u8],
    ) -> bool {
        let shard = usize::from(shard);
        self.to_wake[shard] = true;
        self.queues.send(shard, handoff, tos, bytes)
    }

    /// Sends a command to every other shard.
    pub(super) fn broadcast(&self, command: impl Fn() -> Command) {
        for (shard, mailbox) in self.mailboxes.iter().enumerate() {
            if shard != usize::from(self.id) {
                mailbox.send(command());
            }
        }
    }

    /// Takes the next packet for this shard.
    pub(super) fn next(&self) -> Option<ShardPacket> {
        self.queues.next(self.id.into())
    }

    /// Whether there are packets for this shard.
    pub(super) fn has_packets(&self) -> bool {
        !self.queues.queues[usize::from(self.id)].is_empty()
    }

    pub(super) fn recycle(&self, packet: ShardPacket) {
        self.queues.recycle(packet);
    }

    /// Wakes the shards that packets were sent to, once a tick.
    pub(super) fn wake(&mut self) {
        for (mailbox, to_wake) in self.mailboxes.iter().zip(&mut self.to_wake) {
            if mem::take(to_wake) {
                mailbox.wake();
            }
        }
    }
}

impl ShardPacket {
    pub(super) fn bytes(&self) -> &[u8] {
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
