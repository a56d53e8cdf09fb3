//! Requests of nodes to each other, and the answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tunnel::TunnelRequest;
use crate::service::quality::{LinkReport, UserReport};
use crate::turn::Session;

/// A node that does not answer for this long has not answered.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// A request. A node that does not know it does not answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::service) enum NodeRequest {
    /// Answered by a [`NodeDescription`].
    Describe,
    /// Answered by [`NodeSessions`].
    Sessions,
    /// Ends one session. Answered by [`Ended`](crate::service::Ended).
    End(ListedSession),
    /// Answered by [`Ended`](crate::service::Ended), when the change has taken effect.
    Count(Revocation),
    /// Passes on the connection of a client that resumes a session. Answered by
    /// [`TunnelAnswer`](super::tunnel::TunnelAnswer), if at all.
    Tunnel(Box<TunnelRequest>),
    /// The protocol of a user's client. Answered by `Option<Protocol>`.
    Protocol { room: String, user: String },
    /// Asks the client of a user to mute. Answered by whether the node has it.
    Mute {
        room: String,
        user: String,
        by: Option<String>,
    },
    /// Clients of this node's relay whose path was lost, or is back. Not answered.
    PathChanges(Vec<PathHint>),
    /// The reception of clients whose rooms the receiver relays. Not answered.
    Reports(Vec<UserReport>),
    /// Links of a room that this node relays. Not answered.
    Quality {
        room: Box<str>,
        links: Vec<LinkReport>,
    },
}

/// The path of a user's media to the relay was lost, or is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::service) struct PathHint {
    pub user: Box<str>,
    /// `None`: any room in which the user is connected.
    pub room: Option<Box<str>>,
    pub is_lost: bool,
}

/// A WebSocket or an allocation, as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListedSession {
    Connection { user: String, room: String },
    Relay(Box<Session>),
}

/// All WebSockets and allocations of a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeSessions {
    pub connections: Vec<ListedConnection>,
    pub relays: Vec<Session>,
}

/// A WebSocket of another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedConnection {
    pub user: String,
    pub room: String,
    /// In Unix seconds.
    pub since: u64,
}

/// A committed change that takes access away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Revocation {
    /// A user was disabled or deleted, or all their tokens ended. `generation` is that of the next tokens.
    User { user: String, generation: u64 },
    /// A membership ended. `next_generation` is that of the user's next membership.
    Membership {
        user: String,
        room: String,
        next_generation: u64,
    },
    /// A user was banned from a room.
    Ban { user: String, room: String },
    /// A room was closed or deleted.
    Room { room: String },
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
