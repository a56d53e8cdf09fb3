//! Decides whether a user may be connected to a room: at the start, and whenever the store changes.

use super::app::App;
use super::auth::{AuthError, RoomAccess};
use super::hub::RoomHandle;
use super::role_updates::role;
use crate::clock;
use crate::room::{CloseCode, Profile, Role};
use crate::storage::{Admission, Removal, Room, StoreError, User};
use crate::token::{Issue, valid_room_id};

/// A user who may connect to a room.
pub struct Admitted {
    pub user: String,
    /// The issue time of the user's token.
    pub issue: Issue,
    /// Unix seconds at which the token ends, and with it a `parlor.v1` connection.
    pub token_end: u64,
    /// Whether a plain connection outlives the token.
    pub outlives_token: bool,
    pub profile: Box<Profile>,
    /// Whether the token makes its bearer an admin.
    pub is_token_admin: bool,
}

/// Decides whether an authenticated user may connect to `room`.
///
/// # Errors
/// The close code, in this order: an invalid room id, a token for other rooms, then the user's
/// relation to the room.
pub fn admit(app: &App, access: &RoomAccess, room: &str) -> Result<Admitted, CloseCode> {
    let (claims, user) = (&access.caller.claims, &access.caller.user);
    if !valid_room_id(room) {
        return Err(CloseCode::ConnectionError);
    }
    if !claims.allows_room(room) {
        return Err(CloseCode::NotAParticipant);
    }
    check_entry(&RoomStatus {
        room: access.room.as_ref(),
        participant: access.participant,
        ever_member: access.ever_member,
        removal: access.removal,
    })?;
    let outlives_token = user.guest.is_none() && !app.settings().config.auth.enforce_expiry;
    Ok(Admitted {
        issue: claims.issue(),
        user: user.id.clone(),
        token_end: user.limit_expiry(claims.exp),
        outlives_token,
        profile: Box::new(profile(access)),
        is_token_admin: access.caller.is_token_admin,
    })
}

/// The description of a user to the other participants.
fn profile(access: &RoomAccess) -> Profile {
    let user = &access.caller.user;
    Profile {
        display_name: user.display_name.as_str().into(),
        role: role(user, access.room.as_ref(), access.moderator),
        joined_at: clock::now().unix,
    }
}

/// Checks again that an admitted user may stay, with a token issued at this time, after the connection has entered the
/// room. A rejection ends the session; a failure of the store leaves a resumed one to the client's next attempt.
///
/// # Errors
/// The close code; [`CloseCode::ConnectionError`] if the store fails.
pub async fn check_entered(
    app: &App,
    handle: &mut RoomHandle,
    user: &str,
    issue: Issue,
) -> Result<(), CloseCode> {
    match read_access(app, user, handle.room(), Some(issue)).await {
        Ok(Ok(role)) => {
            app.hub.compare_role(handle.room(), user, role);
            Ok(())
        }
        Ok(Err(code)) => {
            handle.set_keeps_session(false);
            Err(code)
        }
        Err(error) => Err(close_code(error.into())),
    }
}

/// Whether an admitted user may stay, with a token issued at this time, and in which role by the store. A failure of the
/// store decides nothing.
pub(super) async fn read_access(
    app: &App,
    user: &str,
    room: &str,
    issue: Option<Issue>,
) -> Result<Result<Role, CloseCode>, StoreError> {
    let unix = clock::now().unix;
    let admission = app.store.admission(room, user, unix).await?;
    Ok(match &admission.user {
        Some(user) if user.disabled || user.deleted => Err(CloseCode::Removed),
        Some(user) if !issue.is_none_or(|issue| user.token_cutoff.accepts(issue)) => {
            Err(CloseCode::AuthenticationFailed)
        }
        Some(user) if user.is_active(unix) => check_entry(&RoomStatus::from(&admission))
            .map(|()| role(user, admission.room.as_ref(), admission.moderator)),
        _ => Err(CloseCode::AuthenticationFailed),
    })
}

/// Reads the account of a user who may be in a room, and the generation of the membership. `None`: the user may not.
pub async fn member(app: &App, user: &str, room: &str) -> Result<Option<(User, u64)>, StoreError> {
    let unix = clock::now().unix;
    let admission = app.store.admission(room, user, unix).await?;
    let may_enter = check_entry(&RoomStatus::from(&admission)).is_ok();
    let generation = admission.generation;
    let user = admission
        .user
        .filter(|user| user.is_active(unix) && may_enter);
    Ok(user.map(|user| (user, generation)))
}

/// The close code for a failed authentication. Logs the cause.
pub fn close_code(error: AuthError) -> CloseCode {
    match error {
        AuthError::Store(error) => {
            tracing::error!(%error, "database request failed");
            CloseCode::ConnectionError
        }
        AuthError::Disabled => CloseCode::Removed,
        reason => {
            tracing::debug!(%reason, "WebSocket not authenticated");
            CloseCode::AuthenticationFailed
        }
    }
}

/// A user's relation to a room.
struct RoomStatus<'a> {
    room: Option<&'a Room>,
    participant: bool,
    ever_member: bool,
    removal: Option<Removal>,
}

impl<'a> From<&'a Admission> for RoomStatus<'a> {
    fn from(admission: &'a Admission) -> RoomStatus<'a> {
        RoomStatus {
            room: admission.room.as_ref(),
            participant: admission.participant,
            ever_member: admission.ever_member,
            removal: admission.removal,
        }
    }
}

/// Decides whether an authenticated user may be in a room. A private room stays hidden from a user
/// who never was a member.
fn check_entry(status: &RoomStatus<'_>) -> Result<(), CloseCode> {
    match status.room {
        Some(_) if status.removal.is_some() => Err(CloseCode::Removed),
        Some(room) if room.closed_at.is_some() && (status.ever_member || !room.private) => {
            Err(CloseCode::RoomClosed)
        }
        Some(room) if room.closed_at.is_none() && status.participant => Ok(()),
        _ => Err(CloseCode::NotAParticipant),
    }
}

#[cfg(test)]
mod tests;
