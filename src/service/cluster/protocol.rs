//! Requests of nodes to each other, and the answers.

use serde::{Deserialize, Serialize};

/// A request. A node that does not know it does not answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NodeRequest {
    /// Answered by a [`NodeDescription`].
    Describe,
}

/// A node, as it describes itself. Fields that another version does not have stay empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeDescription {
    pub version: String,
    /// Start time in Unix seconds.
    pub since: u64,
    /// WebSockets in a room.
    pub connections: u64,
    /// Allocations.
    pub relays: u64,
    /// Where clients reach the relay: `turn.public_host`, or the addresses for clients on other hosts.
    pub relay_hosts: Vec<String>,
    /// Entries of the inbox that the node had not read when it last renewed its lease.
    pub lag: u64,
    pub draining: bool,
}

/// The answers of the other nodes, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAnswers<T> {
    pub answers: Vec<(String, T)>,
    /// Nodes that have not answered in time, or in a way that this version does not understand.
    pub silent: Vec<String>,
}

/// The name of a node: its identifier without the incarnation.
pub(super) fn node_name(id: &str) -> &str {
    id.rsplit_once('.').map_or(id, |(name, _)| name)
}
