//! The parts of a node's state.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::bus::redis::nodes::NodeInfo;
use crate::bus::redis::scripts::Script;
use crate::clock::Mono;
use crate::room::NodeId;

/// Evicted nodes that a node remembers.
const MAX_EVICTED: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The node must register.
    Unregistered,
    /// The script is in flight.
    Registering,
    Registered,
    /// The node gives up its lease, and sends nothing else.
    Ended,
}

/// A command in flight.
#[derive(Debug, PartialEq)]
pub(super) enum Flight {
    Register {
        sent: Mono,
    },
    Renew {
        entries_read: u64,
        sent: Mono,
    },
    Evict {
        node: NodeId,
    },
    Clean {
        list: String,
    },
    Call {
        ticket: u64,
    },
    /// The first command of the queue.
    Queued,
    /// Its answer does not matter any more.
    Stale,
}

/// A command outside of the queue: it is not sent again.
#[derive(Debug, PartialEq)]
pub(super) enum Control {
    Renew,
    Evict {
        node: NodeId,
        condition: &'static str,
    },
    /// Removes rosters of an earlier world.
    Clean {
        list: String,
    },
    Call {
        ticket: u64,
        script: Script,
        args: Vec<String>,
    },
}

/// The position in the inbox.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The number of the registration: a reply to an earlier read is dropped.
    pub generation: u64,
    pub position: String,
    pub entries_read: u64,
    /// The number of the last batch from each node.
    pub seen: HashMap<NodeId, u64>,
}

/// The nodes that were evicted last.
#[derive(Debug, Default)]
pub(super) struct Evicted {
    pub nodes: HashSet<NodeId>,
    pub oldest: VecDeque<NodeId>,
}

impl Evicted {
    pub(super) fn contains(&self, node: &NodeId) -> bool {
        self.nodes.contains(node)
    }

    pub(super) fn insert(&mut self, node: &NodeId) {
        if self.nodes.insert(node.clone()) {
            self.oldest.push_back(node.clone());
        }
        if self.oldest.len() > MAX_EVICTED
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.nodes.remove(&oldest);
        }
    }
}

/// Rooms to restate.
#[derive(Debug, Default)]
pub(super) struct Restating {
    pub waiting: HashSet<Arc<str>>,
    /// The order of the waiting rooms. A room that comes again comes first, and its later place does not count.
    pub order: VecDeque<Arc<str>>,
    /// Rooms whose request is expected.
    pub pending: HashSet<Arc<str>>,
    pub from: Mono,
    /// Whether the caller has yet to visit all rooms.
    pub is_unvisited: bool,
    /// Whether other nodes have yet to learn that all rooms are restated.
    pub is_unannounced: bool,
    /// Whether announcements of other nodes may be lost.
    pub is_uncertain: bool,
    /// When members that no node restated leave.
    pub until: Option<Mono>,
}

#[derive(Debug, Default)]
pub(super) struct Renewal {
    pub next: Mono,
    /// The time of the last successful one.
    pub last: Option<Mono>,
    /// Since when no renewal was late: a node that was itself late evicts no others.
    pub steady_since: Option<Mono>,
}

/// The nodes that Redis listed last, and this node's place among them.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub is_draining: bool,
    pub version: String,
    pub nodes: Arc<[NodeInfo]>,
    /// Entries of the inbox that the node had not read at the last renewal.
    pub lag: u64,
    /// The time of the cluster in µs, and when the node asked for it.
    pub time: Option<(u64, Mono)>,
    /// When the lease ends, by this node's clock.
    pub leased_until: Option<Mono>,
}
