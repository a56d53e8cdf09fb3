//! Whether somebody may be connected to a room: at the start, and whenever the store changes.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::handshake;
use crate::clock;
use crate::http::auth::{self, AuthError};
use crate::http::{App, Request};
use crate::room::CloseCode;
use crate::storage::{Admission, Removal, Room};
use crate::token::{Issue, valid_room_id};

/// Somebody who may come in.
pub struct Admitted {
    pub user: String,
    /// The issue time of the user's token.
    pub issue: Issue,
    /// Unix seconds at which the connection ends, if its token's expiry does that.
    pub expires: Option<u64>,
}

/// Judges a newcomer. A bad token outranks everything else, then an id that cannot be one.
pub async fn admit(request: &Request, room: &str) -> Result<Admitted, CloseCode> {
    let (app, token) = (&request.app, handshake::token(request));
    let access = auth::access(app, token.as_deref(), room).await;
    let access = access.map_err(|error| {
        app.metrics.entrance.refused("websocket", error.word());
        refused(error)
    })?;
    request.set_user(&access.caller.user.id);
    let (claims, user) = (access.caller.claims, access.caller.user);
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
    let expires = match user.guest {
        Some(guest) => Some(guest.until.min(claims.exp)),
        None => app
            .settings()
            .config
            .auth
            .enforce_expiry
            .then_some(claims.exp),
    };
    Ok(Admitted {
        issue: claims.issue(),
        user: user.id,
        expires,
    })
}

/// Whether an admitted user may stay, with a token issued at this time.
pub async fn check_access(
    app: &App,
    user: &str,
    room: &str,
    issue: Option<Issue>,
) -> Result<(), CloseCode> {
    let unix = clock::now().unix;
    let admission = app.store.admission(room, user, unix).await;
    let admission = admission.map_err(|fault| refused(fault.into()))?;
    match &admission.user {
        Some(user) if user.disabled || user.deleted => Err(CloseCode::Removed),
        Some(user) if !issue.is_none_or(|issue| user.token_cutoff.accepts(issue)) => {
            Err(CloseCode::AuthenticationFailed)
        }
        Some(user) if user.is_active(unix) => check_entry(&RoomStatus::from(&admission)),
        _ => Err(CloseCode::AuthenticationFailed),
    }
}

/// Closes who is no longer welcome whenever another process has written to the store.
pub async fn recheck_connections(app: Arc<App>, shutdown: CancellationToken) {
    let mut changes = app.store.changes();
    while let Some(Ok(())) = shutdown.run_until_cancelled(changes.changed()).await {
        // Before the list is made: who is on the way to a room is on no list.
        app.hub.invalidate();
        for (room, users) in app.hub.occupied_rooms() {
            for user in users {
                // Not for users who are expected back after a restart.
                let issue = app.hub.issue(&room, &user);
                match check_access(&app, &user, &room, issue).await {
                    // A fault of ours is no reason to send anybody away.
                    Ok(()) | Err(CloseCode::ConnectionError) => {}
                    // The user may have reconnected with a new token meanwhile.
                    Err(CloseCode::AuthenticationFailed) => {
                        if app.hub.issue(&room, &user) == issue {
                            app.hub.close(&room, &user, CloseCode::AuthenticationFailed);
                        }
                    }
                    Err(code) => {
                        app.hub.close(&room, &user, code);
                    }
                }
            }
        }
    }
}

/// Decides whether an authenticated user may be in a room.
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

/// Hides a private room from a user who never was a member.
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

fn refused(error: AuthError) -> CloseCode {
    match error {
        AuthError::Store(error) => {
            tracing::error!(%error, "the store does not answer");
            CloseCode::ConnectionError
        }
        AuthError::Disabled => CloseCode::Removed,
        reason => {
            tracing::debug!(%reason, "a WebSocket is not authenticated");
            CloseCode::AuthenticationFailed
        }
    }
}
