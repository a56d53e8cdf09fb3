//! Events of the roster, and requests to it.
//!
//! The roster of a room lists each user's connection and its node. One place orders its changes and numbers
//! them: each is a [`RosterEvent`] to every node with members in the room, including the node that caused it.

use std::sync::Arc;

use bytes::Bytes;

use super::{ConnectionId, Departure, Description};

/// A node during one incarnation, as `name.incarnation`. A node that was evicted returns with another one.
pub type NodeId = Arc<str>;

/// A connection of a user in the roster.
///
/// Places are ordered by age: of two members the older one is notified of the newer one. The other fields
/// only decide between equal ages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Grows with each entry into the room.
    pub age: u64,
    pub node: NodeId,
    pub connection: ConnectionId,
}

/// A line of the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub user: Arc<str>,
    pub place: Place,
    /// `None`: only the id is known, as of a node of an earlier version. Here and below.
    pub description: Option<Box<Description>>,
    /// The connection ended because its node restarts, and the user is awaited. Members who are older than this know
    /// the user.
    pub awaited_since: Option<u64>,
}

/// The entry of a user who was awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// Whether the connection continues the earlier one. Otherwise the user left and entered again.
    pub is_resumed: bool,
    /// Users who do not know the user, because they entered later.
    pub newcomers: Vec<Arc<str>>,
    /// Users whom the user knew, and who left meanwhile.
    pub left: Vec<Arc<str>>,
}

/// A change of the roster, or an answer to a [`Request`]. `seq` numbers the changes of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterEvent {
    /// A user entered, and replaces the user's earlier connection.
    Entered {
        seq: u64,
        user: Arc<str>,
        /// `None` if the node of the new connection was evicted: only the earlier connection ends.
        place: Option<Place>,
        description: Option<Box<Description>>,
        /// The whole roster, if this is the first member on the receiving node.
        roster: Option<Vec<Entry>>,
        /// If the user was awaited.
        returned: Option<Return>,
    },
    Left {
        seq: u64,
        user: Arc<str>,
        node: NodeId,
        connection: ConnectionId,
        reason: Departure,
    },
    /// The description of a member changed. It has the number of the event before it: nodes of earlier versions ignore
    /// it.
    Described {
        seq: u64,
        user: Arc<str>,
        node: NodeId,
        connection: ConnectionId,
        description: Option<Box<Description>>,
    },
    /// A connection ended because its node restarts: nobody is notified while its user is awaited. `since` is the age of
    /// this event: older members know the user.
    Suspended {
        seq: u64,
        user: Arc<str>,
        node: NodeId,
        connection: ConnectionId,
        since: u64,
    },
    /// An awaited user did not return.
    AwaitedLeft {
        seq: u64,
        user: Arc<str>,
        /// Users who do not know the user.
        newcomers: Vec<Arc<str>>,
        reason: Departure,
    },
    /// All members on a node left, because the node was evicted.
    NodeGone { seq: u64, node: NodeId },
    /// All members on a node, which restated them.
    Restated {
        seq: u64,
        node: NodeId,
        members: Vec<Entry>,
        /// Users whose earlier connections ended, and whose new ones are not members for this node.
        ended: Vec<Arc<str>>,
    },
    /// The whole roster, in answer to [`Request::Restate`].
    Snapshot {
        seq: u64,
        /// Of the request.
        number: u64,
        roster: Vec<Entry>,
    },
    /// In answer to [`Request::Enter`]: the user's connections replaced each other too often.
    Refused { connection: ConnectionId },
}

/// A member in a [`Request::Restate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedMember {
    pub user: Arc<str>,
    pub connection: ConnectionId,
    /// `None` for a connection that the roster keeps if it lists it, and does not list anew.
    pub age: Option<u64>,
    /// `None` if the connection has ended.
    pub description: Option<Box<Description>>,
}

/// A request of a room to the roster and to other nodes. The order of requests must be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Enter {
        user: Arc<str>,
        connection: ConnectionId,
        /// Whether it continues the connection of an awaited user.
        resume: bool,
        description: Box<Description>,
    },
    /// Changes the description of a member of this node.
    Describe {
        user: Arc<str>,
        connection: ConnectionId,
        description: Box<Description>,
    },
    /// Ends a connection because this node restarts: its user is awaited.
    Suspend {
        user: Arc<str>,
        connection: ConnectionId,
    },
    Leave {
        user: Arc<str>,
        connection: ConnectionId,
        reason: Departure,
    },
    /// Ends a connection on another node that was replaced before, and that its node stated again because it did
    /// not learn of that. Or ends the wait for an awaited user.
    End {
        user: Arc<str>,
        place: Place,
        reason: Departure,
    },
    /// States all members of the room on this node.
    Restate {
        number: u64,
        members: Vec<StatedMember>,
    },
    /// The room wants [`Room::restate`](super::Room::restate) to be called. Repeated if a user waits for it.
    Resync,
    /// Delivers a frame to members on another node.
    Send { node: NodeId, frame: RemoteFrame },
    /// The roster lists a connection: it is a member from now on.
    Admitted {
        connection: ConnectionId,
        /// Whether it continues the user's earlier connection.
        is_resumed: bool,
    },
}

/// A frame from a member on one node to members on another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFrame {
    pub user: Arc<str>,
    /// The connection of `user`, on the sending node.
    pub from: ConnectionId,
    /// `None`: all members on the receiving node.
    pub to: Option<ConnectionId>,
    /// Whether it is for `parlor.v1` clients alone.
    pub is_extended: bool,
    pub frame: Bytes,
}
