//! `parlor room mute`, `lock`, `unlock`, `role` and `audit`

use serde_json::{Value, json};

use crate::clock;
use crate::service::MuteError;
use crate::storage::{AuditEntry, Cause, NewRole, RoleChange, RoleError, utc};

use super::context::Context;
use super::failure::Failure;
use super::response::Response;
use super::room_lookup;
use super::user_lookup::{self, user_label};

pub(super) async fn lock(
    context: &Context,
    room: &str,
    locked: bool,
    reason: Option<String>,
) -> Result<Response, Failure> {
    let room = room_lookup::open_room(context, room).await?;
    let cause = cause(reason)?;
    let room = match context.server() {
        Some(server) => server.app.lock_room(&room.id, locked, cause).await?,
        None => {
            let unix = clock::now().unix;
            let locking = context.store().lock_room(&room.id, locked, cause, unix);
            locking.await?
        }
    };
    let json = json!({ "room": { "id": room.id, "name": room.name }, "locked": room.locked });
    let text = if locked {
        format!(
            "Locked {}: members come back in, newcomers are rejected",
            room.name
        )
    } else {
        format!("Unlocked {}", room.name)
    };
    Ok(Response::new(json, text))
}

/// Asks the client of a connected participant to mute.
pub(super) async fn mute(
    context: &Context,
    room: &str,
    argument: &str,
    reason: Option<String>,
) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let room = room_lookup::open_room(context, room).await?;
    let user = user_lookup::person_in(context, &room, argument).await?;
    let muting = server.app.mute(&room.id, &user.id, cause(reason)?).await;
    let (label, name) = (user_label(&user), &room.name);
    muting.map_err(|error| match error {
        MuteError::NotConnected => {
            Failure::new(format!("{label} is not connected to the room {name}"))
        }
        MuteError::PlainClient => Failure::new(format!(
            "the client of {label} does not speak parlor.v1 and cannot be muted; `parlor room kick` \
             removes them"
        )),
        MuteError::Store(fault) => fault.into(),
    })?;
    let json = json!({
        "room": { "id": room.id, "name": room.name },
        "user": { "id": user.id, "name": user.name },
    });
    let text = format!("Asked the client of {label} to mute in {name}");
    Ok(Response::new(json, text))
}

pub(super) async fn set_role(
    context: &Context,
    room: &str,
    argument: &str,
    role: NewRole,
    reason: Option<String>,
) -> Result<Response, Failure> {
    let room = room_lookup::open_room(context, room).await?;
    let user = user_lookup::person_in(context, &room, argument).await?;
    let change = RoleChange {
        room_id: room.id.clone(),
        user_id: user.id.clone(),
        role,
        cause: cause(reason)?,
        as_owner: false,
    };
    let changed = match context.server() {
        Some(server) => server.app.set_role(change).await,
        None => context.store().set_role(change, clock::now().unix).await,
    };
    let outcome = changed.map_err(|error| match error {
        RoleError::LastOwner => Failure::new(format!(
            "{} owns the room: `parlor room role {} USER owner` makes another user the owner",
            user_label(&user),
            room.id
        )),
        error => Failure::new(error),
    })?;
    let json = json!({
        "room": { "id": room.id, "name": room.name },
        "user": { "id": user.id, "name": user.name },
        "role": role.name(),
        "changed": outcome.is_changed,
        "former_owner_id": outcome.former_owner,
    });
    let (label, role, name) = (user_label(&user), role.name(), &room.name);
    let article = if role == "owner" { "the" } else { "a" };
    let response = Response::new(json, format!("{label} is {article} {role} of {name}"));
    Ok(match outcome.former_owner {
        Some(former) => response.remark(format!("The former owner {former} is a moderator now.")),
        None => response,
    })
}

/// Lists the newest entries of the audit; closed rooms included.
pub(super) async fn audit(
    context: &Context,
    room: &str,
    before: Option<i64>,
    limit: u32,
) -> Result<Response, Failure> {
    let room = room_lookup::any_room(context, room).await?;
    let entries = context.store().audit(&room.id, before, limit).await?;
    let json = entries.iter().map(entry_json).collect();
    if entries.is_empty() {
        let remark = format!("The audit of {} has no entries.", room.name);
        return Ok(Response::new(json, "").remark(remark));
    }
    let rows = entries.iter().map(|entry| {
        let until = entry
            .until
            .map(|until| format!("until {}", utc::format(until)));
        let name = |name: &Option<String>, id: &Option<String>| {
            name.clone().or_else(|| id.clone()).unwrap_or_default()
        };
        let actor = match entry.actor {
            Some(_) => name(&entry.actor_name, &entry.actor),
            None => ADMIN_SHELL.to_owned(),
        };
        vec![
            entry.id.to_string(),
            utc::format(entry.at),
            actor,
            entry.action.clone(),
            name(&entry.target_name, &entry.target),
            entry.value.clone().or(until).unwrap_or_default(),
            entry.reason.clone().unwrap_or_default(),
        ]
    });
    let header = ["ID", "TIME", "ACTOR", "ACTION", "USER", "VALUE", "REASON"];
    Ok(Response::table(json, &header, rows))
}

/// The actor of a command.
const ADMIN_SHELL: &str = "admin shell";

fn entry_json(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at": utc::format(entry.at),
        "action": entry.action,
        "actor_id": entry.actor,
        "actor": if entry.actor.is_some() { entry.actor_name.as_deref() } else { Some(ADMIN_SHELL) },
        "user_id": entry.target,
        "user": entry.target_name,
        "reason": entry.reason,
        "until": entry.until.map(utc::format),
        "value": entry.value,
    })
}

/// The cause of a command.
pub(super) fn cause(reason: Option<String>) -> Result<Cause, Failure> {
    Cause::new(None, reason).map_err(Failure::usage)
}
