//! `parlor invite …`

use std::num::NonZeroU32;

use serde_json::{Value, json};

use crate::clock;
use crate::config::invite_link;
use crate::storage::{ActiveInvite, NewInvite, utc};

use super::command::Lifetime;
use super::context::Context;
use super::failure::Failure;
use super::response::Response;
use super::room_lookup;

/// Maximum number of invites in one list, so that the list fits into a reply of the admin socket.
const MAX_LISTED: u32 = 1000;

pub(super) async fn list(context: &Context, room: Option<&str>) -> Result<Response, Failure> {
    let room = match room {
        Some(argument) => Some(room_lookup::open_room(context, argument).await?.id),
        None => None,
    };
    let unix = clock::now().unix;
    // One more than the limit, to detect a truncated list.
    let limit = MAX_LISTED + 1;
    let mut invites = context
        .store()
        .invites(room.as_deref(), unix, limit)
        .await?;
    let more = invites.len() > MAX_LISTED as usize;
    invites.truncate(MAX_LISTED as usize);
    let json = invites.iter().map(invite_json).collect();
    let rows = invites.iter().map(|invite| {
        vec![
            invite.id.clone(),
            invite.room_name.clone(),
            invite
                .uses_left
                .map_or("any".to_owned(), |uses| uses.to_string()),
            utc::format(invite.expires_at),
        ]
    });
    let response = if invites.is_empty() {
        Response::new(json, "")
            .remark("There are no invites: `parlor invite create ROOM` creates one.")
    } else {
        Response::table(json, &["ID", "ROOM", "USES LEFT", "EXPIRES"], rows)
    };
    Ok(if more {
        response.remark(format!(
            "Only the oldest {MAX_LISTED} are listed; there are more."
        ))
    } else {
        response
    })
}

fn invite_json(invite: &ActiveInvite) -> Value {
    json!({
        "id": invite.id,
        "room": { "id": invite.room_id, "name": invite.room_name },
        "created_by": invite.created_by,
        "created_at": utc::format(invite.created_at),
        "expires_at": utc::format(invite.expires_at),
        "uses_left": invite.uses_left,
    })
}

pub(super) async fn revoke(context: &Context, id: &str) -> Result<Response, Failure> {
    let unix = clock::now().unix;
    if context.store().revoke_invite(None, id, unix).await? {
        let text = "Revoked; guests who used it stay until their access expires";
        Ok(Response::new(json!({ "id": id }), text))
    } else {
        Err(Failure::new(format!(
            "there is no invite `{id}`: `parlor invite list` lists them"
        )))
    }
}

pub(super) async fn create(
    context: &Context,
    room: &str,
    ttl: Lifetime,
    uses: Option<NonZeroU32>,
) -> Result<Response, Failure> {
    let room = room_lookup::open_room(context, room).await?;
    let new = NewInvite {
        room_id: room.id.clone(),
        created_by: None,
        ttl: ttl.duration(),
        uses: uses.map(NonZeroU32::get),
    };
    let invite = context.store().create_invite(new).await?;
    let http = context.http();
    let config = context.config();
    let link = invite_link(&config, http, &room.id, invite.text.expose());
    let expires_at = utc::format(invite.expires_at);
    let json = json!({
        "id": invite.id,
        "room": { "id": room.id, "name": room.name },
        "invite": invite.text.expose(),
        "link": link,
        "uses": uses,
        "expires_at": expires_at,
    });
    let response = Response::new(json, link).remark(format!(
        "Everyone with this link can enter {} as a guest until {expires_at}.",
        room.name
    ));
    Ok(match (config.server.public_url, http.port()) {
        (Some(_), _) => response,
        (None, 0) => response.remark(
            "http.listen has port 0, so only the running server knows its port: set \
             server.public_url for a valid link.",
        ),
        (None, _) => response
            .remark("The link works on this host only: set server.public_url for other hosts."),
    })
}
