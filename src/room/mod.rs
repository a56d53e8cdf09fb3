//! Rooms: their connections, and the routing of messages.
//!
//! A state machine without sockets and clocks: a [`Room`] takes the message of a connection, and returns
//! the [`Effect`]s to execute and the [`Outcome`] to count. Time is an argument. Effects concern
//! connections of this room only. The room overwrites the sender and the room of a message, and changes
//! no other byte.
//!
//! With several nodes, a room also has members on other nodes. It takes the [`RosterEvent`]s of the room,
//! and queues [`Request`]s.

mod close_code;
mod connection;
mod envelope;
mod error_budget;
mod limits;
mod machine;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod restart_tests;
mod roster;
pub(crate) mod rule;

pub use close_code::CloseCode;
pub use connection::ConnectionId;
pub use envelope::Kind;
pub use limits::Limits;
pub use machine::{Effect, Input, Join, Outcome, Room};
pub use roster::{Entry, NodeId, Place, RemoteFrame, Request, Return, RosterEvent, StatedMember};

/// The reason why a message is dropped. It is counted; the client gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// A binary frame.
    Binary,
    /// Not JSON, or not I-JSON enough to have one meaning (`type` or `to` twice).
    NotJson,
    NotAnObject,
    UnknownType,
    /// `type`, `from` or `roomId` is missing.
    Missing,
    /// `to` is neither a string nor null.
    BadTarget,
    /// `to` names nobody who is connected to this room.
    NoSuchTarget,
}

impl DropReason {
    pub const ALL: [DropReason; 7] = [
        DropReason::Binary,
        DropReason::NotJson,
        DropReason::NotAnObject,
        DropReason::UnknownType,
        DropReason::Missing,
        DropReason::BadTarget,
        DropReason::NoSuchTarget,
    ];

    /// The name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::Binary => "binary",
            DropReason::NotJson => "not_json",
            DropReason::NotAnObject => "not_an_object",
            DropReason::UnknownType => "unknown_type",
            DropReason::Missing => "missing_field",
            DropReason::BadTarget => "bad_target",
            DropReason::NoSuchTarget => "no_such_target",
        }
    }
}
