//! Moderation of a room: kicks, bans, roles, locks and the audit.

use hyper::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json as value};

use super::access::{open_room, require_not_kicked};
use super::errors::{no_such_room, room_closed, too_many_requests};
use super::membership::run_detached;
use super::parameters::{is_json, page_size, require_json};
use crate::clock;
use crate::http::request::read_object;
use crate::http::{Error, Request, Response, State, json};
use crate::service::{
    Act, Actor, BanRequest, ModerationError, MuteError, Refusal, RoomAccess, check_act,
};
use crate::storage::{AuditEntry, Ban, BanError, BanOutcome, NewRole, RoleError, Room, User, utc};

/// Audit entries on one page.
const DEFAULT_PAGE_SIZE: u32 = 50;
const MAX_PAGE_SIZE: u32 = 200;
/// Maximum number of bans on one page.
const MAX_BANS: u32 = 1000;

const REASON_FORMAT: &str = "with `reason` (text), if any, and nothing else";
const BAN_FORMAT: &str = "with `user_id` (text) and, if any, `until` (UTC, such as \
                          2026-12-31T18:00:00Z), `reason` (text) and `keepInvite` (true or false), \
                          and nothing else";
const ROLE_FORMAT: &str =
    "with `role` (`owner`, `moderator` or `member`) and, if any, `reason` (text), and nothing else";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BanBody {
    user_id: String,
    #[serde(default, deserialize_with = "deserialize_time")]
    until: Option<u64>,
    reason: Option<String>,
    #[serde(default, rename = "keepInvite")]
    keep_invite: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleBody {
    role: RoleName,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleName {
    Owner,
    Moderator,
    Member,
}

fn deserialize_time<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let Some(text) = Option::<String>::deserialize(value)? else {
        return Ok(None);
    };
    let unix = utc::parse(&text).ok_or_else(|| serde::de::Error::custom("it is not a time"))?;
    Ok(Some(unix))
}

pub(super) async fn kick(mut request: Request) -> Result<Response, Error> {
    require_moderator(&request, Act::Kick).await?;
    let reason = reason(&mut request).await?;
    let (actor, room) = moderator(&request, Act::Kick).await?;
    let user = request.param("user").to_owned();
    let app = request.app.clone();
    let cooldown = app.settings().config.rooms.kick_cooldown;
    let work = async move { app.kick_by(&actor, &room, &user, reason).await };
    let (user, ..) = run_detached(work).await??;
    let answer = value!({
        "success": true,
        "message": format!("Removed {}", user.display_name),
        "cooldown": cooldown.as_secs(),
    });
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn ban(mut request: Request) -> Result<Response, Error> {
    require_moderator(&request, Act::Ban).await?;
    require_json(&request)?;
    let body: BanBody = request.json(BAN_FORMAT).await?;
    let (actor, room) = moderator(&request, Act::Ban).await?;
    let app = request.app.clone();
    let ban = BanRequest {
        user: body.user_id,
        until: body.until,
        reason: body.reason,
        keep_invite: body.keep_invite,
    };
    let (room_id, until) = (room.id.clone(), ban.until);
    let work = async move { app.ban_by(&actor, &room, ban).await };
    let (user, banned, _) = run_detached(work).await??;
    let answer = value!({
        "success": true,
        "message": ban_message(&user, &banned, body.keep_invite, &room_id),
        "user_id": user.id,
        "until": until.map(utc::format),
        "invite_revoked": banned.revoked,
    });
    Ok(json(StatusCode::CREATED, &answer))
}

/// Says what happened to the invite that a guest used, and how to make a new one.
fn ban_message(user: &User, banned: &BanOutcome, keep_invite: bool, room: &str) -> String {
    let done = format!("Banned {}", user.display_name);
    if user.guest.is_none() {
        return done;
    }
    let new_link = format!("the owner makes a new one with POST /api/rooms/{room}/invites");
    if banned.revoked {
        format!("{done}. Their invite link was revoked, others who used it stay; {new_link}")
    } else if keep_invite {
        format!("{done}. Their invite link is still valid, for them as well under a new id")
    } else {
        format!("{done}. Their invite link was revoked before; {new_link}")
    }
}

pub(super) async fn mute(mut request: Request) -> Result<Response, Error> {
    require_moderator(&request, Act::Mute).await?;
    let reason = reason(&mut request).await?;
    let (actor, room) = moderator(&request, Act::Mute).await?;
    let user = request.param("user").to_owned();
    let app = request.app.clone();
    let work = async move { app.mute_by(&actor, &room, &user, reason).await };
    let user = run_detached(work).await??;
    let message = format!("Asked the client of {} to mute", user.display_name);
    let answer = value!({ "success": true, "message": message });
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn unban(mut request: Request) -> Result<Response, Error> {
    require_moderator(&request, Act::Unban).await?;
    let reason = reason(&mut request).await?;
    let (actor, room) = moderator(&request, Act::Unban).await?;
    let user = request.param("user").to_owned();
    let app = request.app.clone();
    let work = async move { app.unban_by(&actor, &room, &user, reason).await };
    run_detached(work).await??;
    let answer = value!({ "success": true, "message": "The ban has ended" });
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn bans(request: Request) -> Result<Response, Error> {
    let (actor, room) = actor(&request).await?;
    // Before the parameters, which are of no use to others.
    check_act(actor.standing, Act::Read, None)?;
    let limit = page_size(&request, MAX_BANS, MAX_BANS)?;
    let after = request.query("after");
    // One more than the page, to detect another page.
    let found = (request.app).bans_for(&actor, &room, after.as_deref(), limit + 1);
    let mut bans = found.await?;
    if bans.is_empty() && after.is_some() {
        return Err(Error::bad_request(
            "`after` names no ban that is followed by others: begin with the first page",
        ));
    }
    let more = bans.len() > limit as usize;
    bans.truncate(limit as usize);
    let next = bans.last().filter(|_| more).map(|ban| ban.user_id.clone());
    let bans: Vec<Value> = bans.iter().map(ban_json).collect();
    Ok(json(
        StatusCode::OK,
        &value!({ "bans": bans, "next_after": next }),
    ))
}

fn ban_json(ban: &Ban) -> Value {
    value!({
        "user_id": ban.user_id,
        "display_name": ban.display_name,
        "guest": ban.guest,
        "reason": ban.reason,
        "created_at": utc::format(ban.created_at),
        "created_by": ban.created_by,
        "until": ban.until.map(utc::format),
    })
}

pub(super) async fn set_role(mut request: Request) -> Result<Response, Error> {
    let act = Act::SetRole(NewRole::Member);
    require_moderator(&request, act).await?;
    require_json(&request)?;
    let body: RoleBody = request.json(ROLE_FORMAT).await?;
    let (actor, room) = moderator(&request, act).await?;
    let user = request.param("user").to_owned();
    let app = request.app.clone();
    let role = match body.role {
        RoleName::Owner => NewRole::Owner,
        RoleName::Moderator => NewRole::Moderator,
        RoleName::Member => NewRole::Member,
    };
    let id = user.clone();
    let work = async move { app.set_role_by(&actor, &room, &id, role, body.reason).await };
    let outcome = run_detached(work).await??;
    let answer = value!({
        "success": true,
        "user_id": user,
        "role": role.name(),
        "former_owner_id": outcome.former_owner,
    });
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn lock(request: Request) -> Result<Response, Error> {
    set_lock(request, true).await
}

pub(super) async fn unlock(request: Request) -> Result<Response, Error> {
    set_lock(request, false).await
}

async fn set_lock(mut request: Request, locked: bool) -> Result<Response, Error> {
    require_moderator(&request, Act::Lock).await?;
    let reason = reason(&mut request).await?;
    let (actor, room) = moderator(&request, Act::Lock).await?;
    let app = request.app.clone();
    let changing = app.clone();
    let work = async move { changing.lock_by(&actor, &room, locked, reason).await };
    let room = run_detached(work).await??;
    Ok(json(StatusCode::OK, &app.room_object(&room).await))
}

pub(super) async fn audit(request: Request) -> Result<Response, Error> {
    let (actor, room) = actor(&request).await?;
    // Before the parameters, which are of no use to others.
    check_act(actor.standing, Act::Read, None)?;
    let limit = page_size(&request, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)?;
    let before = request.query("before").map(|text| text.parse());
    let before = before
        .transpose()
        .map_err(|_| Error::bad_request("`before` must be the id of an entry"))?;
    // One more than the page, to detect another page.
    let found = request.app.audit_for(&actor, &room, before, limit + 1);
    let mut entries = found.await?;
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = entries.last().filter(|_| more).map(|oldest| oldest.id);
    let entries: Vec<Value> = entries.iter().map(entry_json).collect();
    Ok(json(
        StatusCode::OK,
        &value!({ "entries": entries, "next_before": next }),
    ))
}

fn entry_json(entry: &AuditEntry) -> Value {
    let target = entry
        .target
        .as_ref()
        .map(|id| value!({ "user_id": id, "display_name": entry.target_name }));
    let actor_name = match entry.actor {
        Some(_) => entry.actor_name.as_deref(),
        None => Some("admin shell"),
    };
    value!({
        "id": entry.id,
        "at": utc::format(entry.at),
        "action": entry.action,
        "actor": { "user_id": entry.actor, "display_name": actor_name },
        "target": target,
        "reason": entry.reason,
        "until": entry.until.map(utc::format),
        "value": entry.value,
    })
}

/// The caller as somebody who acts in an open room that they can see.
async fn actor(request: &Request) -> Result<(Actor, Room), Error> {
    let id = request.param("room");
    actor_in(&request.access(id).await?, id)
}

fn actor_in(access: &RoomAccess, id: &str) -> Result<(Actor, Room), Error> {
    let room = open_room(access, id)?;
    require_not_kicked(access)?;
    Ok((access.actor(&room), room))
}

/// The caller, if they may do this to somebody in the room. A handler with a body calls it after the body: a slow
/// client may have lost the right meanwhile.
async fn moderator(request: &Request, act: Act) -> Result<(Actor, Room), Error> {
    let (actor, room) = actor(request).await?;
    check_act(actor.standing, act, None)?;
    Ok((actor, room))
}

/// Rejects a caller who may not do this to somebody in the room, or does it too often. Before the body: others send
/// none.
async fn require_moderator(request: &Request, act: Act) -> Result<(), Error> {
    let id = request.param("room");
    let access = request.access(id).await?;
    moderator_in(&request.state, &access, id, act).map(drop)
}

/// The caller, if they may do this to somebody in the room, and not too often.
pub(super) fn moderator_in(
    state: &State,
    access: &RoomAccess,
    id: &str,
    act: Act,
) -> Result<(Actor, Room), Error> {
    let (actor, room) = actor_in(access, id)?;
    check_act(actor.standing, act, None)?;
    let now = clock::now().mono;
    if !state.limits.moderators.take(&actor.user, now) {
        return Err(too_many_requests());
    }
    Ok((actor, room))
}

/// The reason in the body, if there is one.
async fn reason(request: &mut Request) -> Result<Option<String>, Error> {
    let body: ReasonBody = optional_body(request, REASON_FORMAT).await?;
    Ok(body.reason)
}

/// The JSON body; the default if there is none.
async fn optional_body<T: DeserializeOwned + Default>(
    request: &mut Request,
    format: &str,
) -> Result<T, Error> {
    if !is_json(request) {
        return Ok(T::default());
    }
    let body = request.body().await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let body: Option<T> = read_object(&body, format)?;
    Ok(body.unwrap_or_default())
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        let forbidden = |code, detail| Error::new(StatusCode::FORBIDDEN, code, detail);
        match refusal {
            Refusal::NotAModerator => {
                Error::forbidden("Only the room's owner, moderators and admins may do this")
            }
            Refusal::NotTheOwner => {
                Error::forbidden("Only the room's owner and admins may do this")
            }
            Refusal::Yourself => forbidden("yourself", "Nobody does this to themselves"),
            Refusal::Protected => protected(),
            Refusal::LastOwner => RoleError::LastOwner.into(),
            Refusal::Guest => RoleError::Guest.into(),
        }
    }
}

fn protected() -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        "protected",
        "The owner, moderators and admins are protected from you",
    )
}

fn no_such_participant() -> Error {
    Error::not_found("The room has no such participant")
}

impl From<RoleError> for Error {
    fn from(error: RoleError) -> Error {
        let ineligible = |detail| Error::conflict("ineligible", detail);
        match error {
            RoleError::NoSuchRoom => no_such_room(),
            RoleError::RoomClosed => room_closed(),
            RoleError::NotOwner => Refusal::NotTheOwner.into(),
            RoleError::NoSuchUser => no_such_participant(),
            RoleError::Guest => ineligible("A guest is never an owner or a moderator"),
            RoleError::UserDisabled => ineligible("The user is disabled"),
            RoleError::Banned => ineligible("The user is banned from this room"),
            RoleError::LastOwner => Error::conflict(
                "last-owner",
                "A room keeps its owner; make another user the owner instead",
            ),
            RoleError::TooManyRooms(most) => Error::conflict(
                "too-many-rooms",
                format!("A user owns at most {most} open rooms"),
            ),
            RoleError::Store(fault) => fault.into(),
        }
    }
}

impl From<ModerationError> for Error {
    fn from(error: ModerationError) -> Error {
        match error {
            ModerationError::Refused(refusal) => refusal.into(),
            ModerationError::Reason(reason) => {
                Error::bad_request(format!("The reason is not valid: {reason}"))
            }
            ModerationError::NoSuchParticipant => no_such_participant(),
            ModerationError::NoSuchBan => Error::not_found("The room has no such ban"),
            ModerationError::Mute(error) => mute_error(error),
            ModerationError::Ban(error) => ban_error(error),
            ModerationError::Role(error) => error.into(),
            ModerationError::Lock(error) => error.into(),
            ModerationError::Store(fault) => fault.into(),
        }
    }
}

fn mute_error(error: MuteError) -> Error {
    match error {
        MuteError::NotConnected => {
            Error::conflict("not-connected", "The participant is not connected")
        }
        MuteError::PlainClient => Error::conflict(
            "plain-client",
            "The participant's client does not speak parlor.v1, so the server cannot mute it",
        ),
        MuteError::Store(fault) => fault.into(),
    }
}

fn ban_error(error: BanError) -> Error {
    match error {
        BanError::NoSuchRoom => no_such_room(),
        BanError::NoSuchUser | BanError::GuestElsewhere => no_such_participant(),
        BanError::Admin | BanError::Owner => protected(),
        BanError::Past => Error::bad_request("`until` must be in the future"),
        BanError::Store(fault) => fault.into(),
    }
}
