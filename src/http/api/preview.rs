//! `GET …/preview`: shows a room to a caller with an invite or a token before they join.

use hyper::StatusCode;
use serde_json::{Value, json as value};

use super::access::open_room;
use super::errors::too_many_from_address;
use super::rate_limits::LimitReached;
use crate::clock;
use crate::http::draining::reject_while_draining;
use crate::http::{Error, Request, Response, json};

/// The header with the invite. Proxies log URLs, but not this header.
const INVITE: &str = "x-parlor-invite";

/// Maximum number of names in a response; `connected` counts all participants.
const MAX_NAMES: usize = 100;

pub(super) async fn preview(request: Request) -> Result<Response, Error> {
    reject_while_draining(&request.app)?;
    let (app, now) = (request.app.clone(), clock::now());
    let (limits, client) = (&request.state.limits, request.client_info.address);
    if !limits.previews.take(client, now.mono) {
        limits
            .logins
            .log_limit(now.mono, client, LimitReached::Invites);
        return Err(too_many_from_address());
    }
    let id = request.param("room");
    let invite = invite(&request);
    // An invite is sufficient; with a token, the user's bans and membership count.
    let user = match (request.bearer(), invite) {
        (None, Some(_)) => None,
        (_, invite) => {
            let access = request.access(id).await?;
            if invite.is_none() {
                open_room(&access, id)?;
            }
            Some(access.caller.user.id)
        }
    };
    let found = app.store.preview(id, user.as_deref(), invite, now.unix);
    let preview = found.await.inspect_err(|reason| {
        tracing::debug!(%reason, "invite preview rejected");
    })?;
    let room = preview.room;
    let connected = app.presence(&room.id).await?.connected;
    let members = app.store.participants(&room.id, now.unix).await?;
    let present = members
        .iter()
        .filter(|member| connected.contains(member.user_id.as_str()));
    let participants: Vec<Value> = present
        .take(MAX_NAMES)
        .map(|member| value!({ "display_name": member.display_name, "guest": member.guest }))
        .collect();
    let answer = value!({
        "id": room.id,
        "name": room.name,
        "participants": participants,
        "connected": connected.len(),
        "full": preview.full,
        "locked": preview.locked,
    });
    Ok(json(StatusCode::OK, &answer))
}

/// The invite in the header; one that is not ASCII is invalid.
fn invite(request: &Request) -> Option<&str> {
    let value = request.headers().get(INVITE)?;
    Some(value.to_str().unwrap_or_default())
}
