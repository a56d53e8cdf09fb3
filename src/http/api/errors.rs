//! Errors that several routes of the API share.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::rate_limits::NAME_INTERVAL;
use crate::http::Error;
use crate::storage::utc;

/// The code for too many attempts to log in or to redeem an invite.
const TOO_MANY_ATTEMPTS: &str = "too-many-attempts";

pub(super) fn no_such_room() -> Error {
    Error::not_found("There is no such room, or you need an invite to it")
}

pub(super) fn room_closed() -> Error {
    Error::new(StatusCode::GONE, "room-closed", "The room is closed")
}

pub(super) fn room_locked() -> Error {
    Error::new(
        StatusCode::LOCKED,
        "room-locked",
        "The room is locked: ask somebody who is in it to let you in",
    )
}

pub(super) fn not_for_this_room() -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        "not-for-this-room",
        "The token is for other rooms than this one",
    )
}

pub(super) fn banned(until: Option<u64>) -> Error {
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
pub(super) fn kicked(wait: u64) -> Error {
    let detail = format!("You were removed from this room; you may join again in {wait} s");
    Error::new(StatusCode::FORBIDDEN, "kicked", detail)
        .with(header::RETRY_AFTER, HeaderValue::from(wait))
}

pub(super) fn invite_revoked() -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        "invite-withdrawn",
        "This invite was revoked; ask for a new one",
    )
}

pub(in crate::http) fn not_a_participant() -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        "not-a-participant",
        "Join the room first",
    )
}

pub(super) fn too_many_requests() -> Error {
    too_many(
        "too-many-requests",
        "Too many requests of yours; wait a moment, then try again",
        Duration::from_secs(1),
    )
}

pub(super) fn too_many_from_address() -> Error {
    too_many(
        TOO_MANY_ATTEMPTS,
        "Too many attempts from your address; wait a moment, then try again",
        Duration::from_secs(1),
    )
}

pub(super) fn too_many_for_name() -> Error {
    too_many(
        TOO_MANY_ATTEMPTS,
        "Too many attempts at this name; wait a moment, then try again",
        NAME_INTERVAL,
    )
}

pub(super) fn too_many(code: &'static str, detail: &'static str, wait: Duration) -> Error {
    let error = Error::new(StatusCode::TOO_MANY_REQUESTS, code, detail);
    error.with(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()))
}
