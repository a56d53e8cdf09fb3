//! `GET …/preview`: what a room looks like to somebody who has an invite or a token and has not entered.

use std::collections::HashSet;

use hyper::StatusCode;
use serde_json::{Value, json as value};

use super::login::{self, Limited};
use super::visibility::open_room;
use crate::clock;
use crate::http::{Error, Request, Response, json};

/// Requests from one address, right or wrong: after a burst, this many a second.
pub const PER_SECOND: u64 = 2;
pub const AT_ONCE: u64 = 60;
/// Addresses told apart, about.
pub const CELLS: usize = 4096;

/// The header that carries an invite. Unlike a URL, no log of a proxy shows it.
const INVITE: &str = "x-parlor-invite";

/// Names in an answer; `connected` counts everybody.
const MAX_NAMES: usize = 100;

pub async fn preview(request: Request) -> Result<Response, Error> {
    request.app.accepts_newcomers()?;
    let (app, now) = (request.app.clone(), clock::now());
    let client = request.asker.address;
    if !app.api.previews.take(client, now.mono) {
        app.api.logins.tell(now.mono, client, Limited::Invites);
        return Err(login::too_many_from_address());
    }
    let id = request.param("room");
    let invite = invite(&request);
    // An invite alone will do; a token says whose bans and place count.
    let user = match (request.bearer(), invite) {
        (None, Some(_)) => None,
        (_, invite) => {
            let visitor = request.visitor(id).await?;
            if invite.is_none() {
                open_room(&visitor, id)?;
            }
            Some(visitor.caller.user.id)
        }
    };
    let found = app.store.preview(id, user.as_deref(), invite, now.unix);
    let preview = found.await.inspect_err(|reason| {
        tracing::debug!(%client, %reason, "preview refused");
    })?;
    let room = preview.room;
    let connected: HashSet<_> = app.hub.connected(&room.id).into_iter().collect();
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
    });
    Ok(json(StatusCode::OK, &answer))
}

/// The invite of the header; one that is not ASCII opens nothing.
fn invite(request: &Request) -> Option<&str> {
    let value = request.headers().get(INVITE)?;
    Some(value.to_str().unwrap_or_default())
}
