//! The nodes that Redis lists, and what each says about itself.

use std::sync::Arc;

use redis::Value;

use super::inbox::{array, text};
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
        node_name(&self.id)
    }
}

/// The name of a node: its identifier without the incarnation.
pub fn node_name(id: &str) -> &str {
    id.rsplit_once('.').map_or(id, |(name, _)| name)
}

/// Parses three values for each node.
pub(super) fn parse(reply: Value) -> Arc<[NodeInfo]> {
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
