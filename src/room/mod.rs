//! Rooms: who is connected, and which message goes to whom.
//!
//! A state machine without sockets and clocks: a [`Room`] takes what a connection sent and says
//! what is to be done ([`Effect`]), how it judged the message ([`Outcome`]) and nothing else. Time
//! is an argument. It never reaches out of its room, never passes on a sender's claim about who
//! they are, and changes no byte of a message but those claims.

mod budget;
mod close;
mod envelope;
mod machine;
#[cfg(test)]
mod model;
#[cfg(test)]
mod restart;

pub use close::CloseCode;
pub use envelope::Kind;
pub use machine::{ConnectionId, Effect, Input, Join, Limits, Outcome, Room};

/// Why a message went nowhere. Counted by the edge; a plain client is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
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

impl Reason {
    pub const ALL: [Reason; 7] = [
        Reason::Binary,
        Reason::NotJson,
        Reason::NotAnObject,
        Reason::UnknownType,
        Reason::Missing,
        Reason::BadTarget,
        Reason::NoSuchTarget,
    ];

    /// The word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Binary => "binary",
            Reason::NotJson => "not_json",
            Reason::NotAnObject => "not_an_object",
            Reason::UnknownType => "unknown_type",
            Reason::Missing => "missing_field",
            Reason::BadTarget => "bad_target",
            Reason::NoSuchTarget => "no_such_target",
        }
    }
}
