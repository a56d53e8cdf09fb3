//! `parlor room …`

use serde_json::{Value, json};

use crate::clock;
use crate::service::{Ended, Revocation};
use crate::storage::{ClosedRoom, JoinGrant, NewRoom, Participant, Room, utc};

use super::context::Context;
use super::ended_counts::{self, EndedCounts};
use super::failure::Failure;
use super::response::{Response, yes_or_empty};
use super::{room_lookup, user_lookup};

pub(super) async fn create(context: &Context, new: NewRoom) -> Result<Response, Failure> {
    let created = match context.server() {
        Some(server) => server.app.create_room(new).await,
        None => context.store().create_room(new).await,
    };
    let room = created.map_err(Failure::from_create_error)?;
    let text = format!("Created room {} with id {}", room.name, room.id);
    Ok(Response::new(room_json(&room), text))
}

pub(super) async fn list(context: &Context) -> Result<Response, Failure> {
    let rooms = context.store().rooms().await?;
    let rows = rooms.iter().map(|room| {
        vec![
            room.id.clone(),
            room.name.clone(),
            yes_or_empty(room.private),
            yes_or_empty(room.locked),
            room.max_participants
                .map_or(String::new(), |max| max.to_string()),
        ]
    });
    let header = ["ID", "NAME", "PRIVATE", "LOCKED", "MAX PARTICIPANTS"];
    let json = rooms.iter().map(room_json).collect();
    Ok(if rooms.is_empty() {
        Response::new(json, "").remark("There are no rooms: `parlor room create NAME` creates one.")
    } else {
        Response::table(json, &header, rows)
    })
}

pub(super) async fn add_member(
    context: &Context,
    room: &str,
    user: &str,
) -> Result<Response, Failure> {
    let room = room_lookup::open_room(context, room).await?;
    let user = user_lookup::active_user(context, user).await?;
    match context.server() {
        Some(server) => server.app.add_member(&room.id, &user.id).await?,
        None => {
            let (store, unix) = (context.store(), clock::now().unix);
            store
                .join(&room.id, &user.id, JoinGrant::Operator, unix)
                .await?;
        }
    }
    let json = json!({
        "room": { "id": room.id, "name": room.name },
        "user": { "id": user.id, "name": user.name },
    });
    let text = format!("{} is a member of {}", user.name, room.name);
    Ok(Response::new(json, text))
}

/// Shows a room; closed rooms included.
pub(super) async fn show(context: &Context, argument: &str) -> Result<Response, Failure> {
    let room = room_lookup::any_room(context, argument).await?;
    let unix = clock::now().unix;
    let members = context.store().participants(&room.id, unix).await?;
    let closed = room.closed_at.map(utc::format);
    let mut json = room_json(&room);
    json["owner_id"] = room.owner_id.clone().into();
    json["closed_at"] = closed.clone().into();
    json["participants"] = members.iter().map(participant_json).collect();
    let capacity = room.max_participants.map(|max| max.to_string());
    let names = members.iter().map(|member| member.display_name.as_str());
    let rows = [
        ["Id", &room.id],
        ["Name", &room.name],
        ["Private", &yes_or_empty(room.private)],
        ["Locked", &yes_or_empty(room.locked)],
        ["Max participants", &capacity.unwrap_or_default()],
        ["Owner", room.owner_id.as_deref().unwrap_or_default()],
        ["Created", &utc::format(room.created_at)],
        ["Closed", &closed.unwrap_or_default()],
        ["Members", &names.collect::<Vec<_>>().join(", ")],
    ];
    Ok(Response::facts(json, &rows))
}

fn participant_json(member: &Participant) -> Value {
    json!({
        "user_id": member.user_id,
        "display_name": member.display_name,
        "joined_at": utc::format(member.joined_at),
        "guest": member.guest,
        "role": member.role.name(),
    })
}

pub(super) async fn close(context: &Context, argument: &str) -> Result<Response, Failure> {
    let room = room_lookup::open_room(context, argument).await?;
    let closed = match context.server() {
        Some(server) => server.app.close_room(&room.id).await?.map(with_counts),
        None => {
            let unix = clock::now().unix;
            let closed = context.store().close_room(&room.id, unix).await?;
            closed.map(|closed| (closed, None))
        }
    };
    Ok(revocation_response(context, "Closed", &room, closed).await)
}

/// Deletes a room; closed rooms included.
pub(super) async fn delete(context: &Context, argument: &str) -> Result<Response, Failure> {
    let room = room_lookup::any_room(context, argument).await?;
    let closed = match context.server() {
        Some(server) => server.app.delete_room(&room.id).await?.map(with_counts),
        None => {
            let unix = clock::now().unix;
            let closed = context.store().delete_room(&room.id, unix).await?;
            closed.map(|closed| (closed, None))
        }
    };
    Ok(revocation_response(context, "Deleted", &room, closed).await)
}

fn with_counts((closed, ended): (ClosedRoom, Ended)) -> (ClosedRoom, Option<Ended>) {
    (closed, Some(ended))
}

async fn revocation_response(
    context: &Context,
    done: &str,
    room: &Room,
    closed: Option<(ClosedRoom, Option<Ended>)>,
) -> Response {
    let (members, ended) = closed.map_or((0, None), |(closed, ended)| {
        (closed.ended_memberships.len(), ended)
    });
    let json = json!({ "id": room.id, "name": room.name, "members": members });
    let text = format!("{done} room {} (members: {members})", room.name);
    let change = Revocation::Room {
        room: room.id.clone(),
    };
    let counts = EndedCounts::of_all_nodes(context, ended, change).await;
    ended_counts::with_counts(json, text, counts)
}

fn room_json(room: &Room) -> Value {
    json!({
        "id": room.id,
        "name": room.name,
        "private": room.private,
        "max_participants": room.max_participants,
        "created_at": utc::format(room.created_at),
        "locked": room.locked,
    })
}
