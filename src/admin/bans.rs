//! `parlor room kick`, `ban`, `unban` and `bans`

use serde_json::{Value, json};

use crate::clock;
use crate::config::duration;
use crate::service::Revocation;
use crate::storage::{Ban, BanError, BanOutcome, NewBan, Room, User, utc};

use super::context::Context;
use super::ended_counts::{self, EndedCounts};
use super::failure::Failure;
use super::moderation::cause;
use super::response::Response;
use super::room_lookup::{self, ID_PREFIX, strip_id_prefix};
use super::user_lookup::{self, user_label};

/// Maximum number of bans in one list.
const MAX_LISTED: u32 = 1000;

pub(super) async fn kick(
    context: &Context,
    room: &str,
    argument: &str,
    reason: Option<String>,
) -> Result<Response, Failure> {
    let room = room_lookup::open_room(context, room).await?;
    let user = user_lookup::person_in(context, &room, argument).await?;
    let cause = cause(reason)?;
    let pause = context.config().rooms.kick_cooldown;
    let kicked = match context.server() {
        Some(server) => {
            let kicked = server.app.kick(&room.id, &user.id, cause).await?;
            kicked.map(|(left, ended)| (left, Some(ended)))
        }
        None => {
            let unix = clock::now().unix;
            let until = unix.saturating_add(pause.as_secs());
            let kicked = context.store().kick(&room.id, &user.id, until, cause, unix);
            kicked.await?.map(|left| (left, None))
        }
    };
    let Some((left, ended)) = kicked else {
        let (person, room) = (user_label(&user), &room.name);
        return Err(Failure::new(format!("{person} is not in the room {room}")));
    };
    let mut json = room_and_user_json(&room, &user);
    json["pause"] = pause.as_secs().into();
    let change = Revocation::Membership {
        user: user.id.clone(),
        room: room.id.clone(),
        next_generation: left.next_generation,
    };
    let counts = EndedCounts::of_all_nodes(context, ended, change).await;
    let text = format!("Kicked {} from {}", user_label(&user), room.name);
    let pause = duration::format(pause);
    Ok(
        ended_counts::with_counts(json, text, counts).remark(format!(
            "They may rejoin after {pause}; `parlor room ban` prevents that."
        )),
    )
}

pub(super) async fn ban(
    context: &Context,
    room: &str,
    argument: &str,
    until: Option<u64>,
    reason: Option<String>,
    keep_invite: bool,
) -> Result<Response, Failure> {
    let room = room_lookup::open_room(context, room).await?;
    let user = user_lookup::person_in(context, &room, argument).await?;
    let new = NewBan {
        room_id: room.id.clone(),
        user_id: user.id.clone(),
        until,
        cause: cause(reason.clone())?,
        keep_invite,
    };
    let outcome = match context.server() {
        Some(server) => {
            let banned = server.app.ban(new).await;
            banned.map(|(banned, ended)| (banned, Some(ended)))
        }
        None => {
            let banned = context.store().ban(new, clock::now().unix).await;
            banned.map(|banned| (banned, None))
        }
    };
    let (banned, ended) = outcome.map_err(ban_failure)?;
    let mut json = room_and_user_json(&room, &user);
    json["until"] = until.map(utc::format).into();
    json["reason"] = reason.into();
    json["invite"] = banned.invite.clone().into();
    json["invite_revoked"] = banned.revoked.into();
    let end = until.map_or(String::new(), |unix| {
        format!(" until {}", utc::format(unix))
    });
    let text = format!("Banned {} from {}{end}", user_label(&user), room.name);
    let change = Revocation::Ban {
        user: user.id.clone(),
        room: room.id.clone(),
    };
    let counts = EndedCounts::of_all_nodes(context, ended, change).await;
    let response = ended_counts::with_counts(json, text, counts);
    Ok(match invite_remark(&room, &user, &banned, keep_invite) {
        Some(remark) => response.remark(remark),
        None => response,
    })
}

/// Says what happened to the invite that the guest used.
fn invite_remark(
    room: &Room,
    user: &User,
    banned: &BanOutcome,
    keep_invite: bool,
) -> Option<String> {
    user.guest.as_ref()?;
    let new_link = format!("`parlor invite create {}` creates a new one", room.id);
    Some(match &banned.invite {
        Some(_) if banned.revoked => {
            format!("Their invite link was revoked; other guests who used it stay. {new_link}.")
        }
        Some(invite) if keep_invite => format!(
            "Their invite link is still valid, for them as well, under a new id: \
             `parlor invite revoke {invite}` revokes it."
        ),
        Some(_) => format!("Their invite link was revoked before. {new_link}."),
        None => format!(
            "Their invite link is unknown and may still be valid: `parlor invite list {}` lists the \
             valid ones.",
            room.id
        ),
    })
}

pub(super) async fn unban(
    context: &Context,
    room: &str,
    argument: &str,
    reason: Option<String>,
) -> Result<Response, Failure> {
    let room = room_lookup::any_room(context, room).await?;
    let banned = find_ban(context, &room, argument).await?;
    let cause = cause(reason)?;
    let is_unbanned = match context.server() {
        Some(server) => server.app.unban(&room.id, &banned.user_id, cause).await?,
        None => {
            let unban = context
                .store()
                .unban(&room.id, &banned.user_id, cause, clock::now().unix);
            unban.await?
        }
    };
    if !is_unbanned {
        return Err(not_banned(&room, argument));
    }
    let name = person(&banned);
    let json = json!({
        "room": { "id": room.id, "name": room.name },
        "user": user_json(&banned),
    });
    let response = Response::new(json, format!("{name} may rejoin {}", room.name));
    Ok(if banned.guest {
        response.remark(format!(
            "An invite that the ban revoked stays revoked: `parlor invite create {}` creates a \
         new one.",
            room.id
        ))
    } else {
        response
    })
}

/// Finds the banned user that an argument names.
async fn find_ban(context: &Context, room: &Room, argument: &str) -> Result<Ban, Failure> {
    let unix = clock::now().unix;
    let by_id = argument.starts_with(ID_PREFIX);
    let is_named = |ban: &Ban| {
        ban.user_id == strip_id_prefix(argument)
            || (!by_id && (ban.name == argument || ban.display_name == argument))
    };
    let mut bans = Vec::new();
    let mut after = None;
    loop {
        let store = context.store();
        let page = store.bans(&room.id, after.as_deref(), unix, MAX_LISTED);
        let page = page.await?;
        let last = page.last().map(|ban| ban.user_id.clone());
        let is_full = page.len() >= MAX_LISTED as usize;
        bans.extend(page.into_iter().filter(is_named));
        if !is_full {
            break;
        }
        after = last;
    }
    match &bans[..] {
        [] => Err(not_banned(room, argument)),
        [one] => Ok(one.clone()),
        several => {
            let ids = several
                .iter()
                .map(|ban| format!("{ID_PREFIX}{}", ban.user_id));
            Err(Failure::new(format!(
                "`{argument}` matches several bans: use the id of the one you mean, {}",
                ids.collect::<Vec<_>>().join(" or ")
            )))
        }
    }
}

fn not_banned(room: &Room, argument: &str) -> Failure {
    let (name, id) = (&room.name, &room.id);
    Failure::new(format!(
        "no ban of {name} matches `{argument}`: `parlor room bans {id}` lists them"
    ))
}

pub(super) async fn list(
    context: &Context,
    room: &str,
    after: Option<&str>,
) -> Result<Response, Failure> {
    let room = room_lookup::any_room(context, room).await?;
    let unix = clock::now().unix;
    let after = after.map(strip_id_prefix);
    // One more than the limit, to detect a truncated list.
    let limit = MAX_LISTED + 1;
    let mut bans = context.store().bans(&room.id, after, unix, limit).await?;
    let more = bans.len() > MAX_LISTED as usize;
    bans.truncate(MAX_LISTED as usize);
    let last = bans.last().filter(|_| more).map(|ban| ban.user_id.clone());
    let json = bans.iter().map(ban_json).collect();
    let rows = bans.iter().map(|ban| {
        vec![
            person(ban).to_owned(),
            ban.user_id.clone(),
            if ban.guest {
                "guest".to_owned()
            } else {
                "user".to_owned()
            },
            utc::format(ban.created_at),
            ban.until.map_or("permanent".to_owned(), utc::format),
            ban.reason.clone().unwrap_or_default(),
        ]
    });
    let response = if bans.is_empty() {
        let more = if after.is_some() { "no more" } else { "no" };
        Response::new(json, "").remark(format!("{} has {more} bans.", room.name))
    } else {
        Response::table(
            json,
            &["NAME", "ID", "KIND", "SINCE", "UNTIL", "REASON"],
            rows,
        )
    };
    Ok(match last {
        Some(last) => response.remark(format!(
            "There are more: `parlor room bans {} --after {last}` lists them.",
            room.id
        )),
        None => response,
    })
}

fn ban_json(ban: &Ban) -> Value {
    json!({
        "user": user_json(ban),
        "reason": ban.reason,
        "created_at": utc::format(ban.created_at),
        "until": ban.until.map(utc::format),
    })
}

fn user_json(ban: &Ban) -> Value {
    json!({
        "id": ban.user_id,
        "name": ban.name,
        "display_name": ban.display_name,
        "guest": ban.guest,
    })
}

/// Returns the name; guests have a display name only.
fn person(ban: &Ban) -> &str {
    if ban.guest {
        &ban.display_name
    } else {
        &ban.name
    }
}

fn room_and_user_json(room: &Room, user: &User) -> Value {
    json!({
        "room": { "id": room.id, "name": room.name },
        "user": {
            "id": user.id,
            "name": user.name,
            "display_name": user.display_name,
            "guest": user.guest.is_some(),
        },
    })
}

fn ban_failure(error: BanError) -> Failure {
    match error {
        BanError::Past => Failure::usage(error),
        error => Failure::new(error),
    }
}
