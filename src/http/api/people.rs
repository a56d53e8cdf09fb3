//! `GET /api/auth/me` and `GET …/participants`: the caller, and the participants of a room.

use hyper::StatusCode;
use serde_json::{Value, json as value};

use super::access::open_room;
use super::json::user_json;
use crate::clock;
use crate::http::{Error, Request, Response, json};
use crate::storage::utc;

pub(super) async fn me(request: Request) -> Result<Response, Error> {
    let caller = request.caller().await?;
    let mut answer = user_json(&caller.user);
    answer["expires_at"] = Value::from(utc::format(caller.claims.exp));
    if let Some(rooms) = caller.claims.rooms {
        answer["rooms"] = Value::from(rooms);
    }
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn participants(request: Request) -> Result<Response, Error> {
    let app = request.app.clone();
    let id = request.param("room");
    let room = open_room(&request.access(id).await?, id)?;
    let presence = app.presence(&room.id).await?;
    let members = app.store.participants(&room.id, clock::now().unix).await?;
    let participants: Vec<Value> = members
        .iter()
        .map(|member| {
            value!({
                "user_id": member.user_id,
                "display_name": member.display_name,
                "joined_at": utc::format(member.joined_at),
                "guest": member.guest,
                "role": member.role.name(),
                "connected": presence.connected.contains(member.user_id.as_str()),
            })
        })
        .collect();
    let presence = if presence.is_complete {
        "known"
    } else {
        "unknown"
    };
    Ok(json(
        StatusCode::OK,
        &value!({ "participants": participants, "presence": presence }),
    ))
}
