//! `POST /api/auth/refresh`: exchanges a token of parlor for a fresh one, and prolongs the access of a guest.

use std::sync::Arc;

use hyper::StatusCode;

use super::login::token_response;
use super::membership::run_detached;
use crate::clock;
use crate::http::{Error, Request, Response, json};
use crate::service::App;
use crate::storage::User;

/// A `parlor.v1` client learns this long before that its token ends. Access that ends this soon is prolonged in any case.
pub(in crate::http) const WARNING_SECONDS: u64 = 60;

pub(super) async fn refresh(request: Request) -> Result<Response, Error> {
    let mut caller = request.caller().await?;
    if !caller.claims.own {
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            "foreign-token",
            "Somebody else issued this token: ask them for a fresh one",
        ));
    }
    prolong(&request.app, &mut caller.user).await?;
    let answer = token_response(&request.app, &caller.user, caller.claims.rooms);
    Ok(json(StatusCode::OK, &answer))
}

/// Prolongs the access of a guest who may stay, by a whole token. Each time is a write of the store, so not before half
/// of the access is over. Other users have no end of their access.
async fn prolong(app: &Arc<App>, user: &mut User) -> Result<(), Error> {
    let Some(guest) = &mut user.guest else {
        return Ok(());
    };
    let unix = clock::now().unix;
    let ttl = app.settings().config.auth.token_ttl.as_secs();
    if guest.until.saturating_sub(unix) > WARNING_SECONDS.max(ttl / 2) {
        return Ok(());
    }
    let until = unix.saturating_add(ttl);
    let (store, id) = (app.store.clone(), user.id.clone());
    let work = async move { store.prolong_guest(&id, unix, until).await };
    if run_detached(work).await?? {
        guest.until = until;
        tracing::debug!(until, "guest access prolonged");
    }
    Ok(())
}
