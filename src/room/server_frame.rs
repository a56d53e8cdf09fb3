//! The frames that the server itself sends to `parlor.v1` clients.
//!
//! They have no `seq`: a [`Session`](super::Session) numbers them when they are sent.

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::departure::Departure;
use super::envelope::quoted;
use super::profile::Role;

/// A participant of a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Participant<'a> {
    /// The user's id as JSON.
    pub user: &'a str,
    pub display_name: &'a str,
    pub role: Role,
    pub is_connected: bool,
    /// Unix seconds.
    pub joined_at: u64,
}

/// The parts of a `welcome` that the room does not know, as JSON.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// The room as over HTTP.
    pub room: String,
    /// The response of `GET /api/ice-servers`.
    pub ice_servers: String,
    pub limits: String,
}

/// A frame of the server. `user` is an id as JSON.
#[derive(Debug)]
pub(super) enum ServerFrame<'a> {
    Welcome {
        user: &'a str,
        role: Role,
        greeting: &'a Greeting,
        participants: &'a [Participant<'a>],
    },
    UserJoined(&'a Participant<'a>),
    UserLeft {
        user: &'a str,
        reason: Departure,
    },
    /// The answer to the client's frame with this `id`.
    Ack {
        id: &'a str,
    },
    Error {
        id: Option<&'a str>,
        code: &'static str,
        message: &'static str,
    },
}

impl ServerFrame<'_> {
    /// The frame as text. `room` is the room's id as JSON.
    pub(super) fn render(&self, room: &str) -> Bytes {
        Bytes::from(match self {
            ServerFrame::Welcome {
                user,
                role,
                greeting,
                participants,
            } => {
                let participants: Vec<String> =
                    participants.iter().map(Participant::render).collect();
                format!(
                    r#"{{"type":"welcome","roomId":{room},"data":{{"userId":{user},"role":"{}","room":{},"participants":[{}],"iceServers":{},"limits":{}}}}}"#,
                    role.label(),
                    greeting.room,
                    participants.join(","),
                    greeting.ice_servers,
                    greeting.limits,
                )
            }
            ServerFrame::UserJoined(participant) => format!(
                r#"{{"type":"user-joined","data":{{"userId":{0},"participant":{1}}},"from":{0},"roomId":{room}}}"#,
                participant.user,
                participant.render(),
            ),
            ServerFrame::UserLeft { user, reason } => format!(
                r#"{{"type":"user-left","data":{{"userId":{user},"reason":"{}"}},"from":{user},"roomId":{room}}}"#,
                reason.label(),
            ),
            ServerFrame::Ack { id } => {
                let id = quoted(id);
                format!(r#"{{"type":"ack","ref":{id},"roomId":{room},"data":{{}}}}"#)
            }
            ServerFrame::Error { id, code, message } => {
                let id = id.map_or(String::new(), |id| format!(r#""ref":{},"#, quoted(id)));
                format!(
                    r#"{{"type":"error",{id}"roomId":{room},"data":{{"code":"{code}","message":"{message}"}}}}"#
                )
            }
        })
    }
}

impl Participant<'_> {
    fn render(&self) -> String {
        let joined_at = OffsetDateTime::from_unix_timestamp(self.joined_at as i64);
        let joined_at = joined_at.ok().and_then(|time| time.format(&Rfc3339).ok());
        format!(
            r#"{{"userId":{},"displayName":{},"role":"{}","connected":{},"joinedAt":{}}}"#,
            self.user,
            quoted(self.display_name),
            self.role.label(),
            self.is_connected,
            quoted(&joined_at.unwrap_or_default()),
        )
    }
}
