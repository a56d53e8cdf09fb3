//! `POST /api/auth/guest`: exchanges an invite and a name for a token for one room.

use hyper::StatusCode;
use serde::Deserialize;

use super::errors::{
    invite_revoked, no_such_room, room_closed, room_locked, too_many_from_address,
};
use super::login;
use super::membership::run_detached;
use super::parameters::require_json;
use super::rate_limits::LimitReached;
use crate::clock;
use crate::display_name;
use crate::http::draining::reject_while_draining;
use crate::http::{Error, Request, Response, json};
use crate::storage::InviteError;

#[derive(Deserialize)]
struct Body {
    /// Optional, because the invite belongs to a room; must be that room.
    room: Option<String>,
    invite: String,
    #[serde(alias = "display_name", alias = "displayName")]
    name: String,
}

pub(super) async fn sign_in_guest(request: Request) -> Result<Response, Error> {
    let app = request.app.clone();
    login::counted(&app, "invite", redeem(request).await)
}

async fn redeem(mut request: Request) -> Result<Response, Error> {
    reject_while_draining(&request.app)?;
    let now = clock::now();
    let client = request.client_info.address;
    let limits = &request.state.limits;
    if !request.client_info.try_take(&limits.guests, now.mono) {
        limits
            .logins
            .log_limit(now.mono, client, LimitReached::Invites);
        return Err(too_many_from_address());
    }
    require_json(&request)?;
    let (app, span) = (request.app.clone(), request.span());
    let body: Body = request.json("with `invite` and `name`").await?;
    let ttl = app.settings().config.auth.token_ttl.as_secs();
    let until = now.unix.saturating_add(ttl);
    let store = app.store.clone();
    let work = async move {
        let Body { room, invite, name } = &body;
        let redeemed = store.redeem_invite(room.as_deref(), invite, name, now.unix, until);
        redeemed.await
    };
    // A client that disconnects must not end a connection of the store, which has a statement in flight.
    let user = run_detached(work).await?.inspect_err(|error| {
        if !matches!(error, InviteError::Store(_)) {
            tracing::debug!(reason = %error, "invite rejected");
        }
    })?;
    span.record("user", &*user.id);
    let room = user.guest.as_ref().map(|guest| guest.room_id.clone());
    tracing::debug!(room, "guest admitted");
    let answer = login::token_response(&app, &user, Some(room.into_iter().collect()));
    Ok(json(StatusCode::OK, &answer))
}

impl From<InviteError> for Error {
    fn from(error: InviteError) -> Error {
        match error {
            InviteError::BadInvite => Error::new(
                StatusCode::FORBIDDEN,
                "bad-invite",
                "The invite is wrong, used up or expired; ask for a new one",
            ),
            InviteError::Revoked => invite_revoked(),
            InviteError::NoSuchRoom => no_such_room(),
            InviteError::RoomClosed => room_closed(),
            InviteError::RoomLocked => room_locked(),
            InviteError::RoomFull => Error::conflict("room-full", "The room is full"),
            InviteError::BadName => {
                Error::bad_request(format!("A name needs {}", display_name::RULE))
            }
            InviteError::NoUses => Error::bad_request("An invite is good for at least one use"),
            InviteError::TooMany(most) => Error::conflict(
                "too-many-invites",
                format!(
                    "A room has at most {most} invites that are still good, and so has a user; revoke one first"
                ),
            ),
            InviteError::Author(refusal) => refusal.into(),
            InviteError::Store(fault) => fault.into(),
        }
    }
}
