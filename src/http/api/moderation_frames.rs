//! Moderation by frames of `parlor.v1`: the checks, limits and errors of the routes.

use std::sync::Arc;

use super::membership::run_detached;
use super::moderation::moderator_in;
use crate::http::{Error, State};
use crate::room::{BanData, GivenRole, ModerationRequest};
use crate::service::{Act, Actor, App, BanRequest, ModerationError, RoomAccess};
use crate::storage::{NewRole, Room, utc};

/// Carries out a moderation in the room `id`.
pub(in crate::http) async fn moderate(
    state: &State,
    access: &RoomAccess,
    id: &str,
    request: ModerationRequest,
) -> Result<(), Error> {
    let (actor, room) = moderator_in(state, access, id, act(&request))?;
    let until = until(&request)?;
    let app = state.app.clone();
    let work = async move { carry_out(&app, &actor, &room, request, until).await };
    Ok(run_detached(work).await??)
}

fn act(request: &ModerationRequest) -> Act {
    match request {
        ModerationRequest::Kick { .. } => Act::Kick,
        ModerationRequest::Ban { .. } => Act::Ban,
        ModerationRequest::Unban { .. } => Act::Unban,
        ModerationRequest::Mute { .. } => Act::Mute,
        ModerationRequest::Lock { .. } => Act::Lock,
        ModerationRequest::SetRole { role, .. } => Act::SetRole(new_role(*role)),
    }
}

fn new_role(role: GivenRole) -> NewRole {
    match role {
        GivenRole::Owner => NewRole::Owner,
        GivenRole::Moderator => NewRole::Moderator,
        GivenRole::Member => NewRole::Member,
    }
}

/// The end of a ban in Unix seconds.
fn until(request: &ModerationRequest) -> Result<Option<u64>, Error> {
    let ModerationRequest::Ban { ban, .. } = request else {
        return Ok(None);
    };
    let Some(until) = &ban.until else {
        return Ok(None);
    };
    let unix = utc::parse(until).ok_or_else(|| {
        Error::bad_request("`until` must be a UTC time, such as 2026-12-31T18:00:00Z")
    })?;
    Ok(Some(unix))
}

async fn carry_out(
    app: &Arc<App>,
    actor: &Actor,
    room: &Room,
    request: ModerationRequest,
    until: Option<u64>,
) -> Result<(), ModerationError> {
    match request {
        ModerationRequest::Kick { user, reason } => {
            app.kick_by(actor, room, &user, reason).await?;
        }
        ModerationRequest::Ban { user, ban } => {
            let BanData {
                reason,
                keep_invite,
                ..
            } = ban;
            let request = BanRequest {
                user,
                until,
                reason,
                keep_invite,
            };
            app.ban_by(actor, room, request).await?;
        }
        ModerationRequest::Unban { user, reason } => {
            app.unban_by(actor, room, &user, reason).await?;
        }
        ModerationRequest::Mute { user, reason } => {
            app.mute_by(actor, room, &user, reason).await?;
        }
        ModerationRequest::Lock { locked, reason } => {
            app.lock_by(actor, room, locked, reason).await?;
        }
        ModerationRequest::SetRole { user, role, reason } => {
            let role = new_role(role);
            app.set_role_by(actor, room, &user, role, reason).await?;
        }
    }
    Ok(())
}
