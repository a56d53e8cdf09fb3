//! The frames that the server itself sends to `parlor.v1` clients.
//!
//! They have no `seq`: a [`Session`](super::Session) numbers them when they are sent.

use std::time::Duration;

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
    pub state: State,
}

/// The state that a participant sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    pub muted: bool,
    pub hand_raised: bool,
    /// A moderator has muted the participant, who has not unmuted since.
    pub muted_by_moderator: bool,
}

/// The parts of a `welcome` that the room does not know, as JSON.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// The room as over HTTP.
    pub room: String,
    /// The response of `GET /api/ice-servers`.
    pub ice_servers: String,
    pub limits: String,
    /// The time within which a lost connection can be resumed.
    pub within: Duration,
}

#[cfg(test)]
impl Greeting {
    /// A greeting without a room, ICE servers and limits.
    pub fn blank(within: Duration) -> Greeting {
        Greeting {
            room: "{}".to_owned(),
            ice_servers: "{}".to_owned(),
            limits: "{}".to_owned(),
            within,
        }
    }
}

/// The participants of a `welcome`, as JSON without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participants(String);

impl Participants {
    pub(super) fn render<'a>(participants: impl Iterator<Item = Participant<'a>>) -> Participants {
        let participants: Vec<String> = participants.map(|one| one.render()).collect();
        Participants(participants.join(","))
    }

    /// The JSON.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// The token for the next resumption.
#[derive(Debug)]
pub struct ResumeNotice<'a> {
    pub token: &'a str,
    pub within: Duration,
}

/// A new session.
#[derive(Debug)]
pub struct SessionNotice<'a> {
    /// Names the session, and is no secret.
    pub id: &'a str,
    pub resume: ResumeNotice<'a>,
}

/// A frame of the server. `user` is an id as JSON.
#[derive(Debug)]
pub(super) enum ServerFrame<'a> {
    Welcome {
        user: &'a str,
        role: Role,
        greeting: &'a Greeting,
        session: &'a SessionNotice<'a>,
        participants: &'a Participants,
    },
    Resumed {
        /// The number of frames that follow with their earlier numbers.
        missed: usize,
        resume: &'a ResumeNotice<'a>,
    },
    UserJoined(&'a Participant<'a>),
    ParticipantUpdated(&'a Participant<'a>),
    UserLeft {
        user: &'a str,
        reason: Departure,
    },
    /// A moderator asks the client to mute.
    Mute {
        /// The moderator's id as JSON; `None`: an admin at the command line.
        by: Option<&'a str>,
    },
    RoomUpdated {
        /// The room as over HTTP, as JSON.
        room: &'a str,
    },
    /// The path of this client's media to the relay was lost, or is back.
    PathChanged {
        is_lost: bool,
    },
    /// The quality of links of the room.
    Quality {
        /// A list of links, as JSON.
        links: &'a str,
    },
    /// The answer to the client's frame with this `id`.
    Ack {
        id: &'a str,
    },
    Error {
        id: Option<&'a str>,
        code: &'a str,
        message: &'a str,
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
                session,
                participants,
            } => {
                format!(
                    r#"{{"type":"welcome","roomId":{room},"data":{{"session":{},"resume":{},"userId":{user},"role":"{}","room":{},"participants":[{}],"iceServers":{},"limits":{}}}}}"#,
                    quoted(session.id),
                    session.resume.render(),
                    role.label(),
                    greeting.room,
                    participants.0,
                    greeting.ice_servers,
                    greeting.limits,
                )
            }
            ServerFrame::Resumed { missed, resume } => format!(
                r#"{{"type":"resumed","roomId":{room},"data":{{"missed":{missed},"resume":{}}}}}"#,
                resume.render(),
            ),
            ServerFrame::ParticipantUpdated(participant) => format!(
                r#"{{"type":"participant-updated","data":{},"from":{},"roomId":{room}}}"#,
                participant.render(),
                participant.user,
            ),
            ServerFrame::UserJoined(participant) => format!(
                r#"{{"type":"user-joined","data":{{"userId":{0},"participant":{1}}},"from":{0},"roomId":{room}}}"#,
                participant.user,
                participant.render(),
            ),
            ServerFrame::UserLeft { user, reason } => format!(
                r#"{{"type":"user-left","data":{{"userId":{user},"reason":"{}"}},"from":{user},"roomId":{room}}}"#,
                reason.label(),
            ),
            ServerFrame::Mute { by } => {
                let from = by.map_or(String::new(), |by| format!(r#""from":{by},"#));
                format!(r#"{{"type":"mute","data":{{}},{from}"roomId":{room}}}"#)
            }
            ServerFrame::RoomUpdated { room: object } => {
                format!(r#"{{"type":"room-updated","data":{object},"roomId":{room}}}"#)
            }
            ServerFrame::PathChanged { is_lost } => {
                let word = if *is_lost {
                    "path-lost"
                } else {
                    "path-restored"
                };
                format!(r#"{{"type":"{word}","roomId":{room},"data":{{}}}}"#)
            }
            ServerFrame::Quality { links } => {
                format!(r#"{{"type":"quality","roomId":{room},"data":{{"links":{links}}}}}"#)
            }
            ServerFrame::Ack { id } => {
                let id = quoted(id);
                format!(r#"{{"type":"ack","ref":{id},"roomId":{room},"data":{{}}}}"#)
            }
            ServerFrame::Error { id, code, message } => {
                let id = id.map_or(String::new(), |id| format!(r#""ref":{},"#, quoted(id)));
                let (code, message) = (quoted(code), quoted(message));
                format!(
                    r#"{{"type":"error",{id}"roomId":{room},"data":{{"code":{code},"message":{message}}}}}"#
                )
            }
        })
    }
}

impl ResumeNotice<'_> {
    fn render(&self) -> String {
        let (token, within) = (quoted(self.token), self.within.as_secs());
        format!(r#"{{"token":{token},"within":{within}}}"#)
    }
}

impl Participant<'_> {
    fn render(&self) -> String {
        let joined_at = OffsetDateTime::from_unix_timestamp(self.joined_at as i64);
        let joined_at = joined_at.ok().and_then(|time| time.format(&Rfc3339).ok());
        format!(
            r#"{{"userId":{},"displayName":{},"role":"{}","connected":{},"joinedAt":{},"state":{{"muted":{},"handRaised":{},"mutedByModerator":{}}}}}"#,
            self.user,
            quoted(self.display_name),
            self.role.label(),
            self.is_connected,
            quoted(&joined_at.unwrap_or_default()),
            self.state.muted,
            self.state.hand_raised,
            self.state.muted_by_moderator,
        )
    }
}
