//! Rooms: their connections, and the routing of messages.
//!
//! A state machine without sockets and clocks: a [`Room`] takes the message of a connection, and returns
//! the [`Effect`]s to execute and the [`Outcome`] to count. Time is an argument. Effects concern
//! connections of this room only. The room overwrites the sender and the room of a message, and changes
//! no other byte.
//!
//! With several nodes, a room also has members on other nodes. It takes the [`RosterEvent`]s of the room,
//! and queues [`Request`]s.

mod chat;
mod client_frame;
mod client_request;
mod close_code;
mod connection;
mod departure;
mod description;
mod effect;
mod envelope;
mod envelope_fields;
mod error_budget;
mod limits;
mod machine;
#[cfg(test)]
mod model_tests;
mod moderation_request;
mod notice;
mod outgoing_frame;
mod profile;
mod reserved;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod return_tests;
mod roster;
pub(crate) mod rule;
mod server_frame;
mod session;
mod stats;

pub use chat::{ChatMessage, is_chat_message};
pub use client_request::{ClientRequest, Rejection};
pub use close_code::CloseCode;
pub use connection::ConnectionId;
pub use departure::Departure;
pub use description::Description;
pub use effect::{Effect, Entrant, Input, Join, Outcome};
pub use envelope::Kind;
pub use limits::Limits;
pub use machine::{AWAY_NOTICE, Room, SavedMember, SavedRoster};
pub use moderation_request::{BanData, GivenRole, ModerationRequest};
pub use notice::{ice_servers, token_expiring};
pub use outgoing_frame::{OutgoingFrame, SeqPrefix};
pub use profile::{Profile, Protocol, Role};
pub use roster::{Entry, NodeId, Place, RemoteFrame, Request, Return, RosterEvent, StatedMember};
pub use server_frame::{Greeting, Participants, ResumeNotice, SessionNotice};
pub use session::{ResumeSecret, SavedFrames, Session};
pub use stats::ReceivedStream;

/// The reason why a message is dropped. It is counted. A plain client gets no answer, a `parlor.v1` client an `error`.
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
    /// `to` is neither a string nor null, or names nobody in a frame that needs a user.
    BadTarget,
    /// `to` names nobody who is connected to this room.
    NoSuchTarget,
    /// `id` is not a string of 1 to 64 characters.
    BadId,
    /// `to` names a participant whose client does not speak `parlor.v1`, in a message of that protocol.
    PlainTarget,
    /// `data` is not that of this type.
    BadData,
    /// A display name that is not allowed.
    BadName,
    /// Too many changes of a participant's state, or too many statistics.
    RateLimited,
}

impl DropReason {
    pub const ALL: [DropReason; 12] = [
        DropReason::Binary,
        DropReason::NotJson,
        DropReason::NotAnObject,
        DropReason::UnknownType,
        DropReason::Missing,
        DropReason::BadTarget,
        DropReason::NoSuchTarget,
        DropReason::BadId,
        DropReason::PlainTarget,
        DropReason::BadData,
        DropReason::BadName,
        DropReason::RateLimited,
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
            DropReason::BadId => "bad_id",
            DropReason::PlainTarget => "plain_target",
            DropReason::BadData => "bad_data",
            DropReason::BadName => "bad_name",
            DropReason::RateLimited => "rate_limited",
        }
    }

    /// The `code` of an `error` frame, and its `message`.
    fn error(self) -> (&'static str, &'static str) {
        match self {
            DropReason::Binary => ("binary", "Frames are text"),
            DropReason::NotJson => (
                "not-json",
                "The frame is not JSON, or has `type` or `to` twice",
            ),
            DropReason::NotAnObject => ("not-an-object", "The frame is not a JSON object"),
            DropReason::UnknownType => ("unknown-type", "The server does not know this `type`"),
            DropReason::Missing => ("missing-field", "`type`, `from` and `roomId` are required"),
            DropReason::BadTarget => (
                "bad-target",
                "`to` is neither a string nor null, or names no user in a frame that needs one",
            ),
            DropReason::NoSuchTarget => ("not-connected", "`to` is not connected to this room"),
            DropReason::BadId => ("bad-id", "`id` is not a string of 1 to 64 characters"),
            DropReason::PlainTarget => (
                "plain-client",
                "The client of `to` does not speak parlor.v1",
            ),
            DropReason::BadData => ("bad-data", "`data` is not that of this `type`"),
            DropReason::BadName => (
                "bad-name",
                "A display name has 1 to 128 characters, something to see among them, and no control, direction or \
                 filler characters",
            ),
            DropReason::RateLimited => (
                "rate-limited",
                "Too many frames of this `type`: try again in a while",
            ),
        }
    }
}
