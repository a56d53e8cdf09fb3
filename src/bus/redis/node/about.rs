//! What nodes say about themselves, and the nodes that Redis lists.

use std::sync::Arc;

use redis::Value;

use super::Node;
use crate::bus::redis::inbox::{array, text};
use crate::clock::Mono;
use crate::room::NodeId;

/// A longer text about a node reads as an empty one.
const MAX_ABOUT_BYTES: usize = 4096;

/// A node that Redis lists: it was not evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    pub id: NodeId,
    /// Whether it gets no new rooms to relay.
    pub is_draining: bool,
    /// See [`Settings::about`](super::Settings::about).
    pub about: Arc<str>,
}

impl NodeInfo {
    /// The node's name: its identifier without the incarnation.
    pub fn name(&self) -> &str {
        self.id.rsplit_once('.').map_or(&*self.id, |(name, _)| name)
    }
}

/// The nodes that Redis listed last, and this node's place among them.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub is_draining: bool,
    pub version: String,
    pub nodes: Arc<[NodeInfo]>,
    /// Entries of the inbox that the node had not read at the last renewal.
    pub lag: u64,
    /// When the lease ends, by this node's clock.
    pub leased_until: Option<Mono>,
}

impl Node {
    /// The listed nodes, including this one, as of the last renewal of the lease.
    pub fn nodes(&self) -> &Arc<[NodeInfo]> {
        &self.listing.nodes
    }

    /// Whether this node has a lease: no other node may have evicted it.
    pub fn has_lease(&self, now: Mono) -> bool {
        self.listing.leased_until.is_some_and(|until| now < until)
    }

    /// Entries of the inbox that the node had not read at the last renewal of the lease.
    pub fn lag(&self) -> u64 {
        self.listing.lag
    }

    /// Changes [`Settings::about`](super::Settings::about), soon also for other nodes.
    pub fn set_about(&mut self, about: String) {
        self.settings.about = about;
        self.renewal.next = Mono::default();
    }

    /// Records whether this node gets new rooms to relay, soon also for other nodes.
    pub fn set_draining(&mut self, is_draining: bool) {
        self.listing.is_draining = is_draining;
        self.renewal.next = Mono::default();
    }

    /// Handles the last parts of the answer to a renewal: lag, version and nodes.
    pub(super) fn renewed_listing(&mut self, mut parts: impl Iterator<Item = Value>) {
        if let Some(Value::Int(lag)) = parts.next() {
            self.listing.lag = lag as u64;
        }
        let version = parts.next().and_then(text).unwrap_or_default();
        if version != self.listing.version {
            self.listing.version = version;
            self.listing.nodes = parse(parts.next().unwrap_or(Value::Nil));
        }
    }
}

/// Parses three values for each node.
pub(in crate::bus::redis) fn parse(reply: Value) -> Arc<[NodeInfo]> {
    let mut values = array(reply).into_iter().map(text);
    let mut nodes = Vec::new();
    while let (Some(id), Some(is_draining), about) = (values.next(), values.next(), values.next()) {
        let about = about.flatten().unwrap_or_default();
        let is_short = about.len() <= MAX_ABOUT_BYTES;
        nodes.extend(id.map(|id| NodeInfo {
            id: id.into(),
            is_draining: is_draining.as_deref() == Some("1"),
            about: if is_short { about.into() } else { "".into() },
        }));
    }
    nodes.into()
}
