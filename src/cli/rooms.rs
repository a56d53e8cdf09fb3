//! `parlor room …` and `parlor invite …`

use serde_json::{Value, json};

use crate::clock;
use crate::config::invite_link;
use crate::store::{JoinGrant, NewInvite, NewRoom, Room, utc};

use super::args;
use super::context::Context;
use super::failure::Failure;
use super::output::{Answer, table, tick};
use super::users::refusal;

pub async fn run(context: &Context, command: args::Room) -> Result<Answer, Failure> {
    match command {
        args::Room::Create {
            name,
            id,
            max_participants,
            private,
        } => {
            let new = NewRoom {
                id,
                name,
                private,
                max_participants,
                owner_id: None,
            };
            create(context, new).await
        }
        args::Room::List => list(context).await,
        args::Room::AddMember { room, user } => add_member(context, &room, &user).await,
    }
}

async fn create(context: &Context, new: NewRoom) -> Result<Answer, Failure> {
    let room = context.store.create_room(new).await.map_err(refusal)?;
    let text = format!("Created room {} with id {}", room.name, room.id);
    Ok(Answer::new(room_json(&room), text))
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let rooms = context.store.rooms().await?;
    let rows = rooms.iter().map(|room| {
        vec![
            room.id.clone(),
            room.name.clone(),
            tick(room.private),
            room.max_participants
                .map_or(String::new(), |max| max.to_string()),
        ]
    });
    let header = ["ID", "NAME", "PRIVATE", "MAX PARTICIPANTS"];
    let json = rooms.iter().map(room_json).collect();
    Ok(match rooms.is_empty() {
        true => Answer::new(json, "")
            .remark("There are no rooms: `parlor room create NAME` creates one."),
        false => Answer::new(json, table(&header, rows)),
    })
}

async fn add_member(context: &Context, room: &str, user: &str) -> Result<Answer, Failure> {
    let room = context.open_room(room).await?;
    let user = context.welcome_user(user).await?;
    let unix = clock::now().unix;
    let store = &context.store;
    store
        .join(&room.id, &user.id, JoinGrant::Granted, unix)
        .await?;
    let json = json!({
        "room": { "id": room.id, "name": room.name },
        "user": { "id": user.id, "name": user.name },
    });
    let text = format!("{} is a member of {}", user.name, room.name);
    Ok(Answer::new(json, text))
}

/// `parlor invite create`
pub async fn invite(context: &Context, command: args::Invite) -> Result<Answer, Failure> {
    let args::Invite::Create { room, ttl, uses } = command;
    let room = context.open_room(&room).await?;
    let new = NewInvite {
        room_id: room.id.clone(),
        created_by: None,
        ttl,
        uses,
    };
    let invite = context.store.create_invite(new).await?;
    let http = context.http();
    let link = invite_link(&context.config, http, &room.id, invite.text.expose());
    let expires_at = utc::text(invite.expires_at);
    let json = json!({
        "id": invite.id,
        "room": { "id": room.id, "name": room.name },
        "invite": invite.text.expose(),
        "link": link,
        "uses": uses,
        "expires_at": expires_at,
    });
    let answer = Answer::new(json, link).remark(format!(
        "Whoever opens this link may enter {} as a guest, until {expires_at}.",
        room.name
    ));
    Ok(match (&context.config.server.public_url, http.port()) {
        (Some(_), _) => answer,
        (None, 0) => answer.remark(
            "http.listen has port 0, so only the running server knows its port: \
             set server.public_url for a link that works.",
        ),
        (None, _) => answer.remark(
            "The link works on this host alone: set server.public_url for one that works elsewhere.",
        ),
    })
}

fn room_json(room: &Room) -> Value {
    json!({
        "id": room.id,
        "name": room.name,
        "private": room.private,
        "max_participants": room.max_participants,
        "created_at": utc::text(room.created_at),
    })
}
