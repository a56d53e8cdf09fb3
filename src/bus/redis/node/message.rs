//! Messages from one node to another, or to all others, whose meaning is the application's.

use super::Node;
use crate::clock::Mono;
use crate::room::NodeId;

/// A longer message is not sent.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

impl Node {
    /// Sends bytes to a node, or to all other nodes, behind the requests before them. Each node that reads its inbox
    /// gets them once. Returns whether they were queued: not without Redis, and not if they are too long or too much
    /// waits. If Redis loses its data, they may be lost.
    pub fn tell(&mut self, node: Option<NodeId>, bytes: Vec<u8>, now: Mono) -> bool {
        let is_queued = self.is_available()
            && bytes.len() <= MAX_MESSAGE_BYTES
            && self.queue.push_tell(node, bytes, now);
        self.counts.messages_dropped += u64::from(!is_queued);
        is_queued
    }
}
