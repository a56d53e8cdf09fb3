//! The inputs of a room, their outcomes, and the effects to carry out.

use bytes::Bytes;

use super::envelope::Kind;
use super::profile::Profile;
use super::server_frame::Participants;
use super::{CloseCode, ConnectionId, DropReason};

/// An input of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    Text(&'a str),
    Binary,
    /// A ping or an unasked pong: nothing to deliver, but it counts as a message.
    Control,
}

/// An effect for the caller to carry out, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this text to that connection.
    Deliver {
        connection: ConnectionId,
        frame: Bytes,
        /// The connection that sent it; `None` for a message of the server.
        from: Option<ConnectionId>,
    },
    /// Send the first frame to that connection of a room of several nodes, before all others.
    Welcome {
        connection: ConnectionId,
        participants: Participants,
    },
    /// Close that connection. It is no part of the room any more.
    Close {
        connection: ConnectionId,
        code: CloseCode,
    },
}

/// The outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It went to `copies` connections.
    Relayed {
        kind: Kind,
        copies: usize,
    },
    /// It was a control frame.
    Control,
    /// It was for the server.
    Handled,
    /// The client has received the frames of its session up to this number.
    Acknowledged(u64),
    /// It has the `id` of an earlier one, and was acknowledged again, or will be.
    Repeated,
    /// It is a request that the caller carries out: see [`Room::take_request`](super::Room::take_request).
    Requested,
    Dropped(DropReason),
    /// Its connection was closed for it (the effect says so too).
    Closed(CloseCode),
    /// Its connection is no part of the room any more.
    Gone,
}

/// A user who joins a room.
#[derive(Debug)]
pub struct Entrant<'a> {
    pub user: &'a str,
    /// `None`: only the id is known.
    pub profile: Option<Box<Profile>>,
    /// Whether the connection speaks `parlor.v1`.
    pub is_extended: bool,
    /// Whether it continues a connection from before a restart. A `parlor.v1` connection does not.
    pub resume: bool,
}

impl<'a> Entrant<'a> {
    /// A user with a plain connection, of whom only the id is known.
    pub(super) fn plain(user: &'a str, resume: bool) -> Entrant<'a> {
        Entrant {
            user,
            profile: None,
            is_extended: false,
            resume,
        }
    }
}

/// The outcome of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    Accepted(ConnectionId),
    Rejected(CloseCode),
}
