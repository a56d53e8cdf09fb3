//! `POST …/join` and `POST …/leave`: join and leave a room.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Deserialize;
use serde_json::json as value;
use tokio::time::{self, Instant};
use tracing::Instrument as _;

use super::access::{require_scope, visible_room};
use super::errors::{
    banned, invite_revoked, kicked, no_such_room, not_for_this_room, room_closed, room_locked,
};
use super::ice;
use super::parameters::is_json;
use crate::http::draining::reject_while_draining;
use crate::http::request::read_object;
use crate::http::{Error, Request, Response, json};
use crate::service::room_json;
use crate::service::{AuthError, Caller};
use crate::storage::{JoinError, JoinGrant, Joined};

/// The time for the response; the work itself runs to its end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// `Retry-After` in seconds, as for other faults of the store.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The optional body: an invite for a private room.
#[derive(Default, Deserialize)]
struct JoinBody {
    invite: Option<String>,
}

pub(super) async fn join(mut request: Request) -> Result<Response, Error> {
    reject_while_draining(&request.app)?;
    let id = request.param("room").to_owned();
    require_scope(&request.caller().await?, &id)?;
    let host = ice::host(&request)?;
    // A bad body is rejected, even if the caller needs no invite.
    let invite = invite(&mut request).await?;
    // Again: the body may have come slowly.
    let caller = request.caller().await?;
    let grant = grant(invite, &caller, &id);
    let app = request.app.clone();
    let (joining, user) = (app.clone(), caller.user.id.clone());
    let work = async move { joining.join(&user, &id, grant).await };
    let Joined { room, generation } = run_detached(work).await??;
    let bound = ice::BoundTo {
        room: &room.id,
        generation,
    };
    let offer = ice::Offer::new(&app, host, &caller.user, Some(bound)).await;
    let mut answer = value!({
        "success": true,
        "room": room_json(&room),
        "websocket_url": format!("/api/ws/rooms/{}", room.id),
        "message": format!("Successfully joined {}", room.name),
        "ice_servers": offer.servers,
    });
    // Absent if it is the browser's default: existing frontends do not know the key.
    if offer.policy != "all" {
        answer["ice_transport_policy"] = value!(offer.policy);
    }
    Ok(json(StatusCode::OK, &answer))
}

fn grant(invite: Option<String>, caller: &Caller, room: &str) -> JoinGrant {
    match invite {
        _ if caller.user.admin => JoinGrant::Admin,
        _ if caller.claims.lists_room(room) => JoinGrant::Token,
        Some(invite) => JoinGrant::Invite(invite),
        None => JoinGrant::None,
    }
}

/// The invite in the body. Existing frontends send other bodies, or none.
async fn invite(request: &mut Request) -> Result<Option<String>, Error> {
    if !is_json(request) {
        return Ok(None);
    }
    let body = request.body().await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let body: Option<JoinBody> = read_object(&body, "with `invite` as text, if any")?;
    Ok(body.unwrap_or_default().invite)
}

/// Idempotent: leaving without being a member succeeds. A user who may not see a private room, and
/// never was a member, gets the answer of a room that does not exist.
pub(super) async fn leave(request: Request) -> Result<Response, Error> {
    let id = request.param("room");
    let access = request.access(id).await?;
    let room = match &access.room {
        Some(room) if access.ever_member => {
            require_scope(&access.caller, id)?;
            room.clone()
        }
        _ => visible_room(&access, id)?,
    };
    let user = access.caller.user.id;
    let app = request.app.clone();
    run_detached(async move { app.leave(&user, &room.id).await }).await??;
    let answer = value!({
        "success": true,
        "message": format!("Successfully left {}", room.name),
    });
    Ok(json(StatusCode::OK, &answer))
}

/// Runs `work` to its end, even if the client disconnects or the response is sent before.
///
/// # Errors
/// 503 if the work takes longer than [`ANSWER_TIMEOUT`]. It continues, and may still take effect.
pub(super) async fn run_detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    let working = tokio::spawn(work.in_current_span());
    match time::timeout_at(Instant::now() + ANSWER_TIMEOUT, working).await {
        Ok(done) => done.map_err(|_| Error::internal()),
        Err(_) => Err(Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The server takes long to do that, and may still do it; look again in a while",
        )
        .with(header::RETRY_AFTER, RETRY_AFTER)),
    }
}

impl From<JoinError> for Error {
    fn from(error: JoinError) -> Error {
        let forbidden = |code, detail| Error::new(StatusCode::FORBIDDEN, code, detail);
        match error {
            JoinError::NoSuchRoom => no_such_room(),
            JoinError::RoomClosed => room_closed(),
            JoinError::RoomLocked => room_locked(),
            JoinError::RoomFull => Error::conflict("room-full", "The room is full"),
            JoinError::NotInvited => forbidden(
                "room-private",
                "The room is private; ask its owner for an invite",
            ),
            JoinError::BadInvite => forbidden(
                "bad-invite",
                "The invite is wrong, used up or expired; ask for a new one",
            ),
            JoinError::InviteRevoked => invite_revoked(),
            JoinError::Banned { until } => banned(until),
            JoinError::Kicked { wait } => kicked(wait),
            JoinError::GuestElsewhere => not_for_this_room(),
            JoinError::GuestExpired => AuthError::GuestExpired.into(),
            JoinError::NoSuchUser => AuthError::Deleted.into(),
            JoinError::UserDisabled => AuthError::Disabled.into(),
            JoinError::Store(fault) => fault.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_is_answered_after_5_s_with_503_and_the_work_continues() {
        let done = Arc::new(AtomicBool::new(false));
        let work = {
            let done = done.clone();
            async move {
                time::sleep(Duration::from_secs(60)).await;
                done.store(true, Ordering::Relaxed);
            }
        };
        let start = Instant::now();
        let refused = run_detached(work).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers, [(header::RETRY_AFTER, RETRY_AFTER)]);
        assert_eq!(start.elapsed(), ANSWER_TIMEOUT);
        assert!(!done.load(Ordering::Relaxed));
        time::sleep(Duration::from_secs(60)).await;
        assert!(done.load(Ordering::Relaxed));
    }
}
