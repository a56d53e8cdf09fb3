//! `…/invites`: invite links for guests; the room's owner and admins create, list and revoke them.

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json as value};

use super::errors::too_many_requests;
use super::parameters::require_json;
use super::rooms::managed;
use crate::clock;
use crate::config;
use crate::http::{Error, Request, Response, json};
use crate::storage::{MAX_INVITES, NewInvite, utc};

/// A week.
const DEFAULT_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
const MIN_TTL: Duration = Duration::from_secs(1);

const BODY_FORMAT: &str = "with `ttl` (such as `7d`) and `uses` (a number), if any";

#[derive(Deserialize)]
struct Body {
    /// Seconds, or text such as `7d`.
    #[serde(default = "default_ttl", with = "config::duration")]
    ttl: Duration,
    /// How many guests it lets in; unset: any number.
    uses: Option<u32>,
}

fn default_ttl() -> Duration {
    DEFAULT_TTL
}

pub(super) async fn create(mut request: Request) -> Result<Response, Error> {
    let (caller, _) = managed(&request).await?;
    require_json(&request)?;
    let now = clock::now().mono;
    if !request.state.limits.inviters.take(&caller.user.id, now) {
        return Err(too_many_requests());
    }
    let app = request.app.clone();
    let base = base_url(&request);
    let body: Body = request.json(BODY_FORMAT).await?;
    // Again: the body may have come slowly.
    let (caller, room) = managed(&request).await?;
    if !(MIN_TTL..=config::duration::MAX_DURATION).contains(&body.ttl) {
        let days = config::duration::MAX_DURATION.as_secs() / (24 * 3600);
        let detail = format!("`ttl` must be from one second to {days} days");
        return Err(Error::bad_request(detail));
    }
    let author = caller.user.id;
    let new = NewInvite {
        room_id: room.id.clone(),
        created_by: Some(author.clone()),
        ttl: body.ttl,
        uses: body.uses,
    };
    let invite = app.store.create_invite(new).await?;
    let text = invite.text.expose();
    tracing::info!(
        user = author,
        room = room.id,
        invite = invite.id,
        "invite created"
    );
    let answer = value!({
        "id": invite.id,
        "invite": text,
        "link": format!("{base}/r/{}#{text}", room.id),
        "uses": body.uses,
        "expires_at": utc::format(invite.expires_at),
    });
    Ok(json(StatusCode::CREATED, &answer))
}

/// The valid invites, oldest first, without their text: only the creator got it.
pub(super) async fn list(request: Request) -> Result<Response, Error> {
    let (_, room) = managed(&request).await?;
    let (store, unix) = (&request.app.store, clock::now().unix);
    let invites = store.invites(Some(&room.id), unix, MAX_INVITES).await?;
    let invites: Vec<Value> = invites
        .iter()
        .map(|invite| {
            value!({
                "id": invite.id,
                "created_by": invite.created_by,
                "created_at": utc::format(invite.created_at),
                "expires_at": utc::format(invite.expires_at),
                "uses_left": invite.uses_left,
            })
        })
        .collect();
    Ok(json(StatusCode::OK, &value!({ "invites": invites })))
}

/// Revokes an invite. Guests who used it stay.
pub(super) async fn revoke(request: Request) -> Result<Response, Error> {
    let (caller, room) = managed(&request).await?;
    let (id, store) = (request.param("invite"), &request.app.store);
    let unix = clock::now().unix;
    if !store.revoke_invite(Some(&room.id), id, unix).await? {
        return Err(Error::not_found("The room has no such invite"));
    }
    let user = caller.user.id;
    tracing::info!(user, room = room.id, invite = id, "invite revoked");
    let answer = value!({ "success": true, "message": "Invite revoked" });
    Ok(json(StatusCode::OK, &answer))
}

/// The base URL of the page: as configured, else derived from the request.
fn base_url(request: &Request) -> String {
    let settings = request.app.settings();
    match config::public_url(&settings.config) {
        Some(url) => url.to_string(),
        None => {
            let scheme = match request.client_info.https {
                Some(true) => "https",
                _ => "http",
            };
            match request.host() {
                Some(host) => format!("{scheme}://{host}"),
                None => format!("{scheme}://localhost"),
            }
        }
    }
}
