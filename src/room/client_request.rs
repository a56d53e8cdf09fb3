//! Requests of `parlor.v1` clients that a room cannot answer itself, because they concern the store or the relay.

use serde::Deserialize;

use super::DropReason;
use super::envelope_fields::EnvelopeFields;
use super::moderation_request::ModerationRequest;
use super::stats::{ReceivedStream, StatsData};
use crate::secret::Secret;

/// A request of a client. The caller of the room carries it out, and passes the answer to
/// [`Room::answer`](super::Room::answer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientRequest {
    /// Posts a message to the chat of the room.
    Chat {
        content: String,
    },
    /// Deletes a message of the chat.
    DeleteChat {
        id: i64,
    },
    Moderate(ModerationRequest),
    /// Replaces the token of the session.
    Token {
        token: Secret,
    },
    /// Reports the reception of media.
    Stats(Vec<ReceivedStream>),
}

/// The reason why a request was not carried out, for the `error` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection<'a> {
    pub code: &'a str,
    /// A sentence for people.
    pub message: &'a str,
}

#[derive(Deserialize)]
struct ChatData {
    content: String,
}

#[derive(Deserialize)]
struct DeleteChatData {
    id: i64,
}

#[derive(Deserialize)]
struct TokenData {
    token: Secret,
}

impl ClientRequest {
    /// Parses the frame of a request; `None` if its `type` is not that of one.
    pub(super) fn parse(
        word: &str,
        fields: &EnvelopeFields<'_, true>,
    ) -> Option<Result<ClientRequest, DropReason>> {
        Some(match word {
            "chat" => parse_data(fields, |ChatData { content }| ClientRequest::Chat {
                content,
            }),
            "chat-delete" => parse_data(fields, |DeleteChatData { id }| {
                ClientRequest::DeleteChat { id }
            }),
            "token" => parse_data(fields, |TokenData { token }| ClientRequest::Token { token }),
            "stats" => parse_stats(fields),
            _ => return moderation(word, fields),
        })
    }
}

fn moderation(
    word: &str,
    fields: &EnvelopeFields<'_, true>,
) -> Option<Result<ClientRequest, DropReason>> {
    let request = ModerationRequest::parse(word, fields)?;
    Some(request.map(ClientRequest::Moderate))
}

fn parse_stats(fields: &EnvelopeFields<'_, true>) -> Result<ClientRequest, DropReason> {
    fields.target()?;
    let data: StatsData = fields.data()?;
    data.streams().map(ClientRequest::Stats)
}

/// Parses the `data` of a request without a target.
fn parse_data<'a, T: Deserialize<'a>>(
    fields: &EnvelopeFields<'a, true>,
    request: impl FnOnce(T) -> ClientRequest,
) -> Result<ClientRequest, DropReason> {
    fields.target()?;
    fields.data().map(request)
}
