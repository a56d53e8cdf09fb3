//! `POST …/invites`: a link that lets guests in, made by the room's owner or an admin.

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json as value;

use super::{no_such_room, require_json, require_owner};
use crate::config::{self, PublicUrl};
use crate::http::forwarded::is_authority;
use crate::http::{Error, Request, Response, json};
use crate::store::{NewInvite, utc};

/// A week.
const DEFAULT_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

const TAKEN: &str = "with `ttl` (such as `7d`) and `uses` (a number), if any";

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

pub async fn create(request: Request) -> Result<Response, Error> {
    let visitor = request.visitor(request.param("room")).await?;
    let room = visitor.room.ok_or_else(no_such_room)?;
    let caller = visitor.caller;
    require_owner(&caller, &room)?;
    require_json(&request)?;
    let app = request.app.clone();
    let base = base_url(&request);
    let body: Body = request.json(TAKEN).await?;
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
        "an invite was made"
    );
    let answer = value!({
        "id": invite.id,
        "invite": text,
        "link": format!("{base}/r/{}#{text}", room.id),
        "uses": body.uses,
        "expires_at": utc::text(invite.expires_at),
    });
    Ok(json(StatusCode::CREATED, &answer))
}

/// Where the page is: as configured, else where the request came to.
fn base_url(request: &Request) -> String {
    let settings = request.app.settings();
    let public = settings.config.server.public_url.as_deref();
    match public.and_then(|url| PublicUrl::parse(url).ok()) {
        Some(url) => url.to_string(),
        None => {
            let scheme = match request.asker.https {
                Some(true) => "https",
                _ => "http",
            };
            let host = request.host().filter(|host| is_authority(host));
            format!("{scheme}://{}", host.unwrap_or("localhost"))
        }
    }
}
