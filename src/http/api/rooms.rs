//! `GET` and `POST /api/rooms`, `GET`, `PATCH` and `DELETE /api/rooms/{id}`: list, create, read, change
//! and close rooms.

use hyper::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::json as value;

use super::access::{open_room, require_owner, visible_room};
use super::errors::{no_such_room, room_closed, too_many_requests};
use super::membership::run_detached;
use super::parameters::{page_size, require_json};
use crate::clock;
use crate::config::RoomCreators;
use crate::http::{Error, Request, Response, json};
use crate::service::Caller;
use crate::storage::{ChangeError, CreateError, NewRoom, Room, RoomChange, RoomQuery, User};

/// Rooms on one page.
const DEFAULT_PAGE_SIZE: u32 = 100;
const MAX_PAGE_SIZE: u32 = 500;

const BODY_FORMAT: &str = "with `name` (text) and, if any, `private` (true or false) and \
                     `max_participants` (1 to 1000000), and nothing else";
const CHANGE_FORMAT: &str = "with what to change: `name` (text), `private` (true or false), \
                       `max_participants` (1 to 1000000, or null for no limit), and nothing else";

/// Unknown keys are rejected: a typo in `private` must not create an open room.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    name: String,
    #[serde(default)]
    private: bool,
    max_participants: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    #[serde(default, deserialize_with = "deserialize_present")]
    name: Option<String>,
    #[serde(default, deserialize_with = "deserialize_present")]
    private: Option<bool>,
    #[serde(default, deserialize_with = "deserialize_present")]
    max_participants: Option<Option<u32>>,
}

/// Distinguishes an absent key from `null`.
fn deserialize_present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

pub(super) async fn list(request: Request) -> Result<Response, Error> {
    let caller = request.caller().await?;
    let limit = page_size(&request, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)?;
    let app = request.app.clone();
    let query = RoomQuery {
        only: visible_room_ids(&caller),
        admin: caller.user.admin,
        user_id: caller.user.id,
        after: request.query("after"),
        // One more than the page, to detect another page.
        limit: limit + 1,
    };
    let mut rooms = app.store.visible_rooms(query).await?;
    let more = rooms.len() > limit as usize;
    rooms.truncate(limit as usize);
    let next = rooms.last().filter(|_| more).map(|room| room.name.clone());
    let rooms = app.room_objects(&rooms).await;
    Ok(json(
        StatusCode::OK,
        &value!({ "rooms": rooms, "next_after": next }),
    ))
}

/// The rooms that a token or a guest account is limited to.
fn visible_room_ids(caller: &Caller) -> Option<Vec<String>> {
    match &caller.user.guest {
        None => caller.claims.rooms.clone(),
        Some(guest) => {
            let room = Some(guest.room_id.clone());
            let room = room.filter(|room| caller.claims.allows_room(room));
            Some(room.into_iter().collect())
        }
    }
}

pub(super) async fn create(mut request: Request) -> Result<Response, Error> {
    let user = room_creator(&request).await?;
    require_json(&request)?;
    if !request
        .state
        .limits
        .room_creators
        .take(&user.id, clock::now().mono)
    {
        return Err(too_many_requests());
    }
    let body: NewBody = request.json(BODY_FORMAT).await?;
    // Again: the body may have come slowly.
    let user = room_creator(&request).await?;
    let app = request.app.clone();
    let new = NewRoom {
        id: None,
        name: body.name,
        private: body.private,
        max_participants: body.max_participants,
        owner_id: Some(user.id),
    };
    let room = app.create_room(new).await?;
    Ok(json(StatusCode::CREATED, &app.room_object(&room).await))
}

/// The caller, if they may create rooms.
async fn room_creator(request: &Request) -> Result<User, Error> {
    let Caller { claims, user, .. } = request.caller().await?;
    if user.guest.is_some() || claims.rooms.is_some() {
        return Err(Error::forbidden(
            "Guests and tokens for certain rooms make no rooms",
        ));
    }
    let creators = request.app.settings().config.rooms.create;
    if creators == RoomCreators::Admins && !user.admin {
        return Err(Error::forbidden("Only admins make rooms here"));
    }
    Ok(user)
}

pub(super) async fn read(request: Request) -> Result<Response, Error> {
    let id = request.param("room");
    let room = open_room(&request.access(id).await?, id)?;
    Ok(json(StatusCode::OK, &request.app.room_object(&room).await))
}

pub(super) async fn change(mut request: Request) -> Result<Response, Error> {
    managed(&request).await?;
    require_json(&request)?;
    let body: ChangeBody = request.json(CHANGE_FORMAT).await?;
    // Again: the body may have come slowly.
    let (_, room) = managed(&request).await?;
    let app = request.app.clone();
    let change = RoomChange {
        name: body.name,
        private: body.private,
        max_participants: body.max_participants,
    };
    let changing = app.clone();
    let work = async move { changing.change_room(&room.id, change).await };
    let room = run_detached(work).await??;
    Ok(json(StatusCode::OK, &app.room_object(&room).await))
}

/// Closes a room. Idempotent.
pub(super) async fn close(request: Request) -> Result<Response, Error> {
    let (_, room) = managed(&request).await?;
    let app = request.app.clone();
    let closed = run_detached(async move { app.close_room(&room.id).await }).await??;
    let (closed, _) = closed.ok_or_else(no_such_room)?;
    let answer = value!({
        "success": true,
        "message": format!("Closed {}", closed.room.name),
    });
    Ok(json(StatusCode::OK, &answer))
}

/// Returns the room of a request if the caller manages it. The room may be closed.
pub(super) async fn managed(request: &Request) -> Result<(Caller, Room), Error> {
    let id = request.param("room");
    let access = request.access(id).await?;
    let room = visible_room(&access, id)?;
    require_owner(&access.caller, &room)?;
    Ok((access.caller, room))
}

impl From<CreateError> for Error {
    fn from(error: CreateError) -> Error {
        let detail = sentence(&error);
        match error {
            CreateError::NameTaken(_) => Error::conflict("name-taken", detail),
            CreateError::IdTaken(_) => Error::conflict("id-taken", detail),
            CreateError::TooManyRooms(_) => Error::conflict("too-many-rooms", detail),
            CreateError::BadName | CreateError::BadId(..) | CreateError::BadCapacity(_) => {
                Error::bad_request(detail)
            }
            CreateError::NoSuchOwner(_) | CreateError::Owner(_) | CreateError::Deleted(_) => {
                Error::forbidden(detail)
            }
            CreateError::Store(fault) => fault.into(),
        }
    }
}

impl From<ChangeError> for Error {
    fn from(error: ChangeError) -> Error {
        match error {
            ChangeError::NoSuchRoom => no_such_room(),
            ChangeError::RoomClosed => room_closed(),
            ChangeError::Refused(refusal) => refusal.into(),
            ChangeError::Store(fault) => fault.into(),
        }
    }
}

/// The error as a sentence, with a capital letter.
fn sentence(error: &CreateError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
