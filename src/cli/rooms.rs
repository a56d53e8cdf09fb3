//! `parlor room …` and `parlor invite …`

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::config::invite_link;
use crate::store::{Closed, JoinGrant, LivingInvite, NewInvite, NewRoom, Participant, Room, utc};

use super::args;
use super::context::Context;
use super::failure::Failure;
use super::output::{Answer, facts, table, tick};
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
        args::Room::Show { room } => show(context, &room).await,
        args::Room::Close { room } => close(context, &room).await,
        args::Room::Delete { room } => delete(context, &room).await,
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

/// Closed rooms too, by their id.
async fn show(context: &Context, word: &str) -> Result<Answer, Failure> {
    let room = context.any_room(word).await?;
    let unix = clock::now().unix;
    let members = context.store.participants(&room.id, unix).await?;
    let closed = room.closed_at.map(utc::text);
    let mut json = room_json(&room);
    json["owner_id"] = room.owner_id.clone().into();
    json["closed_at"] = closed.clone().into();
    json["participants"] = members.iter().map(participant_json).collect();
    let most = room.max_participants.map(|most| most.to_string());
    let names = members.iter().map(|member| member.display_name.as_str());
    let rows = [
        ["Id", &room.id],
        ["Name", &room.name],
        ["Private", &tick(room.private)],
        ["Holds", &most.unwrap_or_default()],
        ["Owner", room.owner_id.as_deref().unwrap_or_default()],
        ["Created", &utc::text(room.created_at)],
        ["Closed", &closed.unwrap_or_default()],
        ["Members", &names.collect::<Vec<_>>().join(", ")],
    ];
    Ok(Answer::new(json, facts(&rows)))
}

fn participant_json(member: &Participant) -> Value {
    json!({
        "user_id": member.user_id,
        "display_name": member.display_name,
        "joined_at": utc::text(member.joined_at),
        "guest": member.guest,
    })
}

async fn close(context: &Context, word: &str) -> Result<Answer, Failure> {
    let room = context.open_room(word).await?;
    let closed = context
        .store
        .close_room(&room.id, clock::now().unix)
        .await?;
    Ok(ended("Closed", &room, closed))
}

/// Closed rooms too.
async fn delete(context: &Context, word: &str) -> Result<Answer, Failure> {
    let room = context.any_room(word).await?;
    let closed = context
        .store
        .delete_room(&room.id, clock::now().unix)
        .await?;
    Ok(ended("Deleted", &room, closed))
}

fn ended(done: &str, room: &Room, closed: Option<Closed>) -> Answer {
    let members = closed.map_or(0, |closed| closed.departures.len());
    let json = json!({ "id": room.id, "name": room.name, "members": members });
    let text = format!("{done} room {} (members: {members})", room.name);
    Answer::new(json, text)
}

/// `parlor invite …`
pub async fn invite(context: &Context, command: args::Invite) -> Result<Answer, Failure> {
    match command {
        args::Invite::Create { room, ttl, uses } => create_invite(context, &room, ttl, uses).await,
        args::Invite::List { room } => list_invites(context, room.as_deref()).await,
        args::Invite::Revoke { id } => revoke_invite(context, &id).await,
    }
}

async fn list_invites(context: &Context, room: Option<&str>) -> Result<Answer, Failure> {
    let room = match room {
        Some(word) => Some(context.open_room(word).await?.id),
        None => None,
    };
    let unix = clock::now().unix;
    let invites = context.store.invites(room.as_deref(), unix).await?;
    let json = invites.iter().map(invite_json).collect();
    let rows = invites.iter().map(|invite| {
        vec![
            invite.id.clone(),
            invite.room_name.clone(),
            invite
                .uses_left
                .map_or("any".to_owned(), |uses| uses.to_string()),
            utc::text(invite.expires_at),
        ]
    });
    Ok(match invites.is_empty() {
        true => Answer::new(json, "")
            .remark("There are no invites: `parlor invite create ROOM` makes one."),
        false => Answer::new(json, table(&["ID", "ROOM", "USES LEFT", "EXPIRES"], rows)),
    })
}

fn invite_json(invite: &LivingInvite) -> Value {
    json!({
        "id": invite.id,
        "room": { "id": invite.room_id, "name": invite.room_name },
        "created_by": invite.created_by,
        "created_at": utc::text(invite.created_at),
        "expires_at": utc::text(invite.expires_at),
        "uses_left": invite.uses_left,
    })
}

async fn revoke_invite(context: &Context, id: &str) -> Result<Answer, Failure> {
    match context.store.revoke_invite(id).await? {
        true => {
            let text = "Revoked; guests who came by it stay until their time runs out";
            Ok(Answer::new(json!({ "id": id }), text))
        }
        false => Err(Failure::refused(format!(
            "there is no invite `{id}`: `parlor invite list` shows all"
        ))),
    }
}

async fn create_invite(
    context: &Context,
    room: &str,
    ttl: Duration,
    uses: Option<u32>,
) -> Result<Answer, Failure> {
    let room = context.open_room(room).await?;
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
