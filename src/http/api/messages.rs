//! `GET` and `POST …/messages`, `DELETE …/messages/{message}`: the text chat of a room's participants.

use std::sync::Arc;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json as value};

use super::access::{open_room, require_not_kicked, visible_room};
use super::errors::{not_a_participant, room_closed, too_many_requests};
use super::membership::run_detached;
use super::parameters::{page_size, require_json};
use crate::clock;
use crate::http::{Error, Request, Response, State, json};
use crate::service::{DeleteMessageError, Refusal, RoomAccess};
use crate::storage::{MAX_MESSAGE_CHARS, Message, MessageError, NewMessage, Room, utc};

/// Messages on one page.
const DEFAULT_PAGE_SIZE: u32 = 50;
const MAX_PAGE_SIZE: u32 = 100;

const BODY_FORMAT: &str = "with `content` as text";

#[derive(Deserialize)]
struct Body {
    content: String,
}

pub(super) async fn read(request: Request) -> Result<Response, Error> {
    let (access, room) = participant_room(&request).await?;
    let limit = page_size(&request, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)?;
    let before = request.query("before").map(|text| text.parse());
    let before = before
        .transpose()
        .map_err(|_| Error::bad_request("`before` must be the id of a message"))?;
    let app = &request.app;
    // One more than the page, to detect another page.
    let reader = &access.caller.user;
    let mut found = app.messages(reader, &room.id, before, limit + 1).await?;
    let more = found.len() > limit as usize;
    if more {
        found.remove(0);
    }
    let next = found.first().filter(|_| more).map(|oldest| oldest.id);
    let messages: Vec<Value> = found.iter().map(message_json).collect();
    Ok(json(
        StatusCode::OK,
        &value!({ "messages": messages, "next_before": next }),
    ))
}

pub(super) async fn write(mut request: Request) -> Result<Response, Error> {
    let (access, room) = participant_room(&request).await?;
    require_json(&request)?;
    let state = request.state.clone();
    let author = author(&state, access)?;
    let body: Body = request.json(BODY_FORMAT).await?;
    let written = write_as(&state, author, room, body.content).await?;
    Ok(json(StatusCode::CREATED, &message_json(&written)))
}

/// Posts a message to the room, as `POST …/messages` does.
pub(in crate::http) async fn post(
    state: &State,
    access: RoomAccess,
    room: &str,
    content: String,
) -> Result<Message, Error> {
    let room = participated(&access, room)?;
    let author = author(state, access)?;
    write_as(state, author, room, content).await
}

/// The id of a caller who does not write too often.
fn author(state: &State, access: RoomAccess) -> Result<String, Error> {
    let user = access.caller.user.id;
    if state.limits.message_authors.take(&user, clock::now().mono) {
        Ok(user)
    } else {
        Err(too_many_requests())
    }
}

async fn write_as(
    state: &State,
    author: String,
    room: Room,
    content: String,
) -> Result<Message, Error> {
    let new = NewMessage {
        room_id: room.id,
        user_id: author,
        content,
    };
    let app = state.app.clone();
    let written = run_detached(async move { app.post_message(new).await });
    Ok(written.await??)
}

/// Deletes a message. Only the room's owner and admins may do so in a closed room.
pub(super) async fn delete(request: Request) -> Result<Response, Error> {
    let id = request.param("room");
    let access = request.access(id).await?;
    // Ids begin at 1: text that is not a number names no message.
    let message = request.param("message").parse().unwrap_or(0);
    delete_by(&request.state, access, id, message).await?;
    let answer = value!({ "success": true, "message": "Message deleted" });
    Ok(json(StatusCode::OK, &answer))
}

/// Deletes a message of the room, as `DELETE …/messages/{message}` does.
pub(in crate::http) async fn delete_by(
    state: &Arc<State>,
    access: RoomAccess,
    id: &str,
    message: i64,
) -> Result<(), Error> {
    let room = visible_room(&access, id)?;
    if room.closed_at.is_some() && !access.caller.manages(&room) {
        return Err(room_closed());
    }
    require_not_kicked(&access)?;
    let state = state.clone();
    let work = async move {
        let moderators = &state.limits.moderators;
        let deleted = state
            .app
            .delete_message(&access, &room, message, moderators);
        deleted.await
    };
    Ok(run_detached(work).await??)
}

/// The caller as a participant of an open room. The store checks again for each write.
async fn participant_room(request: &Request) -> Result<(RoomAccess, Room), Error> {
    let id = request.param("room");
    let access = request.access(id).await?;
    let room = participated(&access, id)?;
    Ok((access, room))
}

/// The open room, if the caller participates in it.
pub(in crate::http) fn participated(access: &RoomAccess, id: &str) -> Result<Room, Error> {
    let room = open_room(access, id)?;
    if access.participant {
        Ok(room)
    } else {
        Err(not_a_participant())
    }
}

fn message_json(message: &Message) -> Value {
    value!({
        "id": message.id,
        "room_id": message.room_id,
        "user_id": message.user_id,
        "display_name": message.display_name,
        "content": message.content,
        "created_at": utc::format(message.created_at),
    })
}

impl From<MessageError> for Error {
    fn from(error: MessageError) -> Error {
        match error {
            MessageError::BadContent => Error::bad_request(format!(
                "A message has 1 to {MAX_MESSAGE_CHARS} characters, not all of them blank"
            )),
            MessageError::NotAMember => not_a_participant(),
            MessageError::Author(refusal) => refusal.into(),
            MessageError::Store(fault) => fault.into(),
        }
    }
}

impl From<DeleteMessageError> for Error {
    fn from(error: DeleteMessageError) -> Error {
        match error {
            DeleteMessageError::NotAMember => not_a_participant(),
            DeleteMessageError::NoSuchMessage => Error::not_found("The room has no such message"),
            DeleteMessageError::Refused(Refusal::NotAModerator) => Error::forbidden(
                "Only the author, the room's owner, moderators and admins may delete a message",
            ),
            DeleteMessageError::Refused(refusal) => refusal.into(),
            DeleteMessageError::TooMany => too_many_requests(),
            DeleteMessageError::Store(fault) => fault.into(),
        }
    }
}
