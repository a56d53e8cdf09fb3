//! Whether somebody may be connected to a room: at the start, and whenever the store changes.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::http::App;
use crate::room::CloseCode;
use crate::store::Admission;
use crate::token::{Claims, valid_id};

/// Somebody who may come in.
pub struct Admitted {
    pub user: String,
    /// Unix seconds at which the connection ends, if its token's expiry does that.
    pub expires: Option<u64>,
}

/// Judges a newcomer. A bad token outranks everything else, then an id that cannot be one.
pub async fn admit(app: &App, token: Option<&str>, room: &str) -> Result<Admitted, CloseCode> {
    let unix = clock::now().unix;
    let claims = app
        .tokens
        .check(token.unwrap_or(""), unix)
        .map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            CloseCode::AuthenticationFailed
        })?;
    let admission = known(app, &claims, room).await?;
    let guest = admission.user.as_ref().is_some_and(|u| u.guest.is_some());
    judge(&admission, unix).map_err(|code| match code {
        CloseCode::Removed | CloseCode::AuthenticationFailed => code,
        _ if !valid_id(room) => CloseCode::ConnectionError,
        _ => code,
    })?;
    if !claims.allows_room(room) {
        return Err(CloseCode::NotAParticipant);
    }
    let ends = guest || app.config.auth.enforce_expiry;
    Ok(Admitted {
        user: claims.sub,
        expires: ends.then_some(claims.exp),
    })
}

/// Whether somebody who was let in still may be there.
pub async fn still_welcome(app: &App, user: &str, room: &str) -> Result<(), CloseCode> {
    let admission = app.store.admission(room, user).await.map_err(fault)?;
    judge(&admission, clock::now().unix)
}

/// Closes who is no longer welcome whenever another process has written to the store.
pub async fn recheck(app: Arc<App>, shutdown: CancellationToken) {
    let mut changes = app.store.changes();
    while let Some(Ok(())) = shutdown.run_until_cancelled(changes.changed()).await {
        for (room, users) in app.hub.everybody() {
            for user in users {
                if let Err(code) = still_welcome(&app, &user, &room).await {
                    app.hub.close(&room, &user, code);
                }
            }
        }
    }
}

/// What the store says, with a user made of a stranger's token where that is configured.
async fn known(app: &App, claims: &Claims, room: &str) -> Result<Admission, CloseCode> {
    let admission = app.store.admission(room, &claims.sub).await;
    let mut admission = admission.map_err(fault)?;
    if admission.user.is_none() && app.config.auth.provision_users {
        let made = app.store.provision(&claims.sub, claims.name.as_deref());
        admission.user = Some(made.await.map_err(fault)?);
    }
    Ok(admission)
}

fn judge(admission: &Admission, unix: u64) -> Result<(), CloseCode> {
    let Some(user) = admission.user.as_ref().filter(|user| !user.deleted) else {
        return Err(CloseCode::AuthenticationFailed);
    };
    if user.disabled {
        return Err(CloseCode::Removed);
    }
    if !user.is_welcome(unix) {
        return Err(CloseCode::AuthenticationFailed);
    }
    match &admission.room {
        Some(room) if room.closed_at.is_some() => Err(CloseCode::RoomClosed),
        Some(_) if admission.participant => Ok(()),
        _ => Err(CloseCode::NotAParticipant),
    }
}

fn fault(error: impl std::error::Error) -> CloseCode {
    tracing::error!(%error, "the store does not answer");
    CloseCode::ConnectionError
}
