//! `GET /api/auth/me` and `GET …/participants`: who one is, and who else is in a room.

use std::collections::HashSet;

use hyper::StatusCode;
use serde_json::{Value, json as value};

use super::{no_such_room, not_a_participant, not_for_this_room, room_closed, user_json};
use crate::clock;
use crate::http::auth::Visitor;
use crate::http::{Error, Request, Response, json};
use crate::store::{Room, utc};

pub async fn me(request: Request) -> Result<Response, Error> {
    let caller = request.caller().await?;
    let mut answer = user_json(&caller.user);
    answer["expires_at"] = Value::from(utc::text(caller.claims.exp));
    if let Some(rooms) = caller.claims.rooms {
        answer["rooms"] = Value::from(rooms);
    }
    Ok(json(StatusCode::OK, &answer))
}

pub async fn participants(request: Request) -> Result<Response, Error> {
    let app = request.app.clone();
    let mut visitor = request.visitor(request.param("room")).await?;
    let room = visitor.room.take().ok_or_else(no_such_room)?;
    if room.closed_at.is_some() {
        return Err(room_closed());
    }
    may_look(&visitor, &room)?;
    let connected: HashSet<_> = app.hub.connected(&room.id).into_iter().collect();
    // Read after the connections: a drain that begins in between has closed none of them.
    let presence = match app.hub.is_draining() {
        true => "unknown",
        false => "known",
    };
    let members = app.store.participants(&room.id, clock::now().unix).await?;
    let participants: Vec<Value> = members
        .iter()
        .map(|member| {
            value!({
                "user_id": member.user_id,
                "display_name": member.display_name,
                "joined_at": utc::text(member.joined_at),
                "guest": member.guest,
                "connected": connected.contains(member.user_id.as_str()),
            })
        })
        .collect();
    Ok(json(
        StatusCode::OK,
        &value!({ "participants": participants, "presence": presence }),
    ))
}

/// Whoever could walk in may look in; guests have no eyes outside their room.
pub fn may_look(visitor: &Visitor, room: &Room) -> Result<(), Error> {
    let (user, claims) = (&visitor.caller.user, &visitor.caller.claims);
    let elsewhere = user
        .guest
        .as_ref()
        .is_some_and(|guest| guest.room_id != room.id);
    if elsewhere || !claims.allows_room(&room.id) {
        return Err(not_for_this_room());
    }
    let welcome = !room.private
        || visitor.participant
        || user.admin
        || claims.names_room(&room.id)
        || room.owner_id.as_ref() == Some(&user.id);
    match welcome {
        true => Ok(()),
        false => Err(not_a_participant()),
    }
}
