//! The JSON routes: who one is, rooms, in and out of them, what is written there, servers for ICE.
//!
//! Every answer that carries a token or a credential is `no-store`. What is to happen after a write
//! (a connection closed, a relay told) happens even where the client has gone meanwhile.

mod access;
mod expiry;
mod guest;
mod ice;
mod invite;
mod login;
mod membership;
mod messages;
mod people;
mod preview;
mod rooms;

use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Value, json as value};

use super::auth::Caller;
use super::error::Error;
use super::health::FailureLogLimits;
use super::request::Request;
use super::router::Route;
use crate::rate::{KeyedLimiter, Limit, PerIpLimiter};
use crate::storage::{Room, User, utc};
use membership::ChangeOrder;

pub use expiry::run as run_expiry;

/// What the routes remember between requests. It does not grow.
pub struct State {
    guests: PerIpLimiter,
    logins: login::Logins,
    previews: PerIpLimiter,
    inviters: KeyedLimiter,
    room_creators: KeyedLimiter,
    message_authors: KeyedLimiter,
    order: ChangeOrder,
    pub(super) failure_logs: FailureLogLimits,
}

impl Default for State {
    fn default() -> State {
        State {
            guests: PerIpLimiter::new(
                Limit::per_second(guest::PER_SECOND, guest::BURST),
                guest::TABLE_SIZE,
            ),
            logins: login::Logins::default(),
            previews: PerIpLimiter::new(
                Limit::per_second(preview::PER_SECOND, preview::BURST),
                preview::TABLE_SIZE,
            ),
            inviters: KeyedLimiter::new(
                Limit::per_second(invite::PER_SECOND, invite::BURST),
                invite::TABLE_SIZE,
            ),
            room_creators: KeyedLimiter::new(
                Limit::per_second(rooms::PER_SECOND, rooms::BURST),
                rooms::TABLE_SIZE,
            ),
            message_authors: KeyedLimiter::new(
                Limit::per_second(messages::PER_SECOND, messages::BURST),
                messages::TABLE_SIZE,
            ),
            order: ChangeOrder::default(),
            failure_logs: FailureLogLimits::default(),
        }
    }
}

impl State {
    /// Nobody joins or leaves while this is held: for reading all that the store refuses and
    /// telling it to the relay, without undoing what came in between.
    pub async fn exclusive(&self) -> impl Drop {
        self.order.lock_all().await
    }
}

pub fn routes() -> Vec<Route> {
    let (get, post) = (Method::GET, Method::POST);
    vec![
        Route::new(post.clone(), "/api/auth/guest", |r| {
            Box::pin(guest::enter(r))
        }),
        Route::new(post.clone(), "/api/auth/login", |r| {
            Box::pin(login::login(r))
        }),
        Route::new(post.clone(), "/api/auth/refresh", |r| {
            Box::pin(login::refresh(r))
        }),
        Route::new(get.clone(), "/api/auth/me", |r| Box::pin(people::me(r))),
        Route::new(get.clone(), "/api/ice-servers", |r| {
            Box::pin(ice::servers(r))
        }),
        Route::new(get.clone(), "/api/rooms", |r| Box::pin(rooms::list(r))),
        Route::new(post.clone(), "/api/rooms", |r| Box::pin(rooms::create(r))),
        Route::new(get.clone(), "/api/rooms/{room}", |r| {
            Box::pin(rooms::read(r))
        }),
        Route::new(Method::PATCH, "/api/rooms/{room}", |r| {
            Box::pin(rooms::change(r))
        }),
        Route::new(Method::DELETE, "/api/rooms/{room}", |r| {
            Box::pin(rooms::close(r))
        }),
        Route::new(get.clone(), "/api/rooms/{room}/messages", |r| {
            Box::pin(messages::read(r))
        }),
        Route::new(post.clone(), "/api/rooms/{room}/messages", |r| {
            Box::pin(messages::write(r))
        }),
        Route::new(post.clone(), "/api/rooms/{room}/join", |r| {
            Box::pin(membership::join(r))
        }),
        Route::new(post.clone(), "/api/rooms/{room}/leave", |r| {
            Box::pin(membership::leave(r))
        }),
        Route::new(get.clone(), "/api/rooms/{room}/participants", |r| {
            Box::pin(people::participants(r))
        }),
        Route::new(get.clone(), "/api/rooms/{room}/preview", |r| {
            Box::pin(preview::preview(r))
        }),
        Route::new(get, "/api/rooms/{room}/invites", |r| {
            Box::pin(invite::list(r))
        }),
        Route::new(post, "/api/rooms/{room}/invites", |r| {
            Box::pin(invite::create(r))
        }),
        Route::new(Method::DELETE, "/api/rooms/{room}/invites/{invite}", |r| {
            Box::pin(invite::revoke(r))
        }),
    ]
}

fn room_json(room: &Room) -> Value {
    value!({
        "id": room.id,
        "name": room.name,
        "private": room.private,
        "max_participants": room.max_participants,
        "owner_id": room.owner_id,
        "created_at": utc::format(room.created_at),
    })
}

/// A guest's name is the one they gave; to the store it is no name at all.
fn user_json(user: &User) -> Value {
    let name = match user.guest {
        Some(_) => &user.display_name,
        None => &user.name,
    };
    value!({
        "id": user.id,
        "name": name,
        "display_name": user.display_name,
        "role": user.role(),
        "guest": user.guest.is_some(),
    })
}

fn no_such_room() -> Error {
    Error::not_found("There is no such room, or you need an invite to it")
}

fn room_closed() -> Error {
    Error::new(StatusCode::GONE, "room-closed", "The room is closed")
}

fn not_for_this_room() -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        "not-for-this-room",
        "The token is for other rooms than this one",
    )
}

fn banned(until: Option<u64>) -> Error {
    let detail = match until {
        None => "You have been banned from this room".to_owned(),
        Some(unix) => format!(
            "You have been banned from this room until {}",
            utc::format(unix)
        ),
    };
    Error::new(StatusCode::FORBIDDEN, "banned", detail)
}

/// `wait` is in seconds.
fn kicked(wait: u64) -> Error {
    let detail = format!("You were removed from this room; you may join again in {wait} s");
    Error::new(StatusCode::FORBIDDEN, "kicked", detail)
        .with(header::RETRY_AFTER, HeaderValue::from(wait))
}

fn invite_withdrawn() -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        "invite-withdrawn",
        "This link was withdrawn; ask for a new one",
    )
}

fn not_a_participant() -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        "not-a-participant",
        "Join the room first",
    )
}

fn too_many_requests() -> Error {
    login::too_many(
        "too-many-requests",
        "Too many requests of yours; wait a moment, then try again",
        Duration::from_secs(1),
    )
}

/// The owner and admins manage a room. The caller may see the room.
fn require_owner(caller: &Caller, room: &Room) -> Result<(), Error> {
    match caller.user.admin || room.owner_id.as_ref() == Some(&caller.user.id) {
        true => Ok(()),
        false => Err(Error::forbidden(
            "Only the room's owner and admins may do this",
        )),
    }
}

/// `?limit=`, or `usual`.
fn page_size(request: &Request, usual: u32, largest: u32) -> Result<u32, Error> {
    let Some(text) = request.query("limit") else {
        return Ok(usual);
    };
    let size = text.parse().ok();
    size.filter(|size| (1..=largest).contains(size))
        .ok_or_else(|| Error::bad_request(format!("`limit` must be 1 to {largest}")))
}

/// 415 where the body does not say that it is JSON. A page of another origin cannot say so without
/// asking first.
fn require_json(request: &Request) -> Result<(), Error> {
    match is_json(request) {
        true => Ok(()),
        false => Err(unsupported(
            "Send JSON, with `Content-Type: application/json`",
        )),
    }
}

fn unsupported(detail: &'static str) -> Error {
    Error::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        detail,
    )
}

fn is_json(request: &Request) -> bool {
    media_type(request).eq_ignore_ascii_case("application/json")
}

/// What the body says it is, without parameters.
fn media_type(request: &Request) -> &str {
    let kind = request.header(header::CONTENT_TYPE).unwrap_or("");
    kind.split(';').next().unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_of_rooms_are_those_of_the_documentation() {
        let documented: Vec<&str> = include_str!("../../../docs/build/http-api.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .map(|(route, _)| route)
            .filter(|route| route.contains("/api/rooms"))
            .collect();
        let routes = routes();
        let built = routes
            .iter()
            .filter(|route| route.path.starts_with("/api/rooms"))
            .map(|route| format!("{} {}", route.method, route.path));
        assert_eq!(
            built.collect::<std::collections::BTreeSet<_>>(),
            documented.into_iter().map(str::to_owned).collect()
        );
    }
}
