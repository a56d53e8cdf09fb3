//! `POST /api/auth/login`: exchanges a password for a fresh token.
//!
//! Responses do not reveal accounts: an unknown name, a user without a password and a wrong
//! password get the same response after the same work. Only the right password gets another one.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json as value};
use tracing::field::display;

use super::errors::{too_many_for_name, too_many_from_address};
use super::json::user_json;
use super::parameters::{is_json, media_type, unsupported};
use crate::clock;
use crate::http::draining::reject_while_draining;
use crate::http::forwarded::ClientInfo;
use crate::http::request::form_value;
use crate::http::{Error, Request, Response, json};
use crate::secret::Secret;
use crate::service::{App, AuthError};
use crate::storage::User;
use crate::token::Claims;

#[derive(Deserialize)]
struct Body {
    username: String,
    password: Secret,
    /// The device token of an earlier login of the same user.
    device_token: Option<String>,
}

pub(super) async fn login(request: Request) -> Result<Response, Error> {
    let app = request.app.clone();
    counted(&app, "password", check_login(request).await)
}

async fn check_login(request: Request) -> Result<Response, Error> {
    let app = request.app.clone();
    reject_while_draining(&app)?;
    let now = clock::now();
    let (state, client_info, span) = (
        request.state.clone(),
        request.client_info.clone(),
        request.span(),
    );
    let logins = &state.limits.logins;
    let body = body(request).await;
    let settings = app.settings();
    let devices = settings.tokens.devices();
    let device = body.as_ref().ok().and_then(|body| {
        let token = body.device_token.as_deref()?;
        devices.check(token, &body.username, now.unix)
    });
    // Other clients can use up the attempts of a name and of an address, but not of a device.
    let is_known = device.is_some_and(|device| logins.devices.take(device, now.mono));
    if !is_known && !logins.try_take_address(&client_info, now.mono) {
        return Err(too_many_from_address());
    }
    let body = body?;
    if !is_known {
        let name = &body.username;
        let taken = logins.try_take_name(&app, &client_info, name, now.mono);
        if !taken.await {
            return Err(too_many_for_name());
        }
    }
    let (user, kept) = match app.store.login(&body.username).await? {
        Some((user, kept)) => (Some(user), kept),
        None => (None, None),
    };
    let id = user.as_ref().map(|user| user.id.clone());
    let verified = logins.verify(body.password, kept, is_known).await;
    let fits = verified.map_err(|_| Error::internal())?;
    let Some(user) = user.filter(|_| fits) else {
        log_refused(&client_info, id, "wrong name or password");
        return Err(wrong());
    };
    if user.disabled {
        log_refused(&client_info, id, "the user is disabled");
        return Err(AuthError::Disabled.into());
    }
    span.record("user", &*user.id);
    let mut answer = token_response(&app, &user, None);
    answer["device_token"] = devices.issue(device, &body.username, now.unix).into();
    Ok(json(StatusCode::OK, &answer))
}

/// Logs a refused login; `user` is the id if the name is known.
fn log_refused(client_info: &ClientInfo, user: Option<String>, reason: &'static str) {
    // docs/run/fail2ban/filter.d/parlor.conf reads this line, and bans the client. The typed name
    // is not logged: users sometimes type their password there. No parent: at DEBUG the text format
    // would put the fields of the spans before the message.
    let client = client_info.bannable_address().map(display);
    let from = client_info.ambiguous_address();
    tracing::info!(parent: None, client, from, user, reason, "login refused");
}

/// Counts an attempt to get a token.
pub(super) fn counted(
    app: &App,
    by: &'static str,
    outcome: Result<Response, Error>,
) -> Result<Response, Error> {
    let word = outcome
        .as_ref()
        .map_or_else(|error| error.code, |_| "success");
    app.metrics.auth.login_attempt(by, word);
    outcome
}

/// Issues a token for `user`, and returns the body of the response. The token of a guest ends with the
/// guest's time.
pub(super) fn token_response(app: &App, user: &User, rooms: Option<Vec<String>>) -> Value {
    let now = clock::now().unix;
    let settings = app.settings();
    let ttl = settings.config.auth.token_ttl.as_secs();
    let exp = user.limit_expiry(now.saturating_add(ttl));
    let claims = Claims {
        sub: user.id.clone(),
        exp,
        iat: Some(now),
        name: Some(user.display_name.clone()),
        rooms,
        role: Some(user.role().to_owned()),
        generation: Some(user.token_cutoff.generation),
        ..Claims::default()
    };
    value!({
        "access_token": settings.tokens.issue(&claims),
        "token_type": "bearer",
        "expires_in": exp.saturating_sub(now),
        "user": user_json(user),
    })
}

fn wrong() -> Error {
    Error::new(
        StatusCode::UNAUTHORIZED,
        "wrong-credentials",
        "The username or the password is wrong",
    )
    .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// JSON, or a form as HTML sends it.
async fn body(mut request: Request) -> Result<Body, Error> {
    const WANTED: &str = "with `username` and `password`";
    if is_json(&request) {
        return request.json(WANTED).await;
    }
    if !media_type(&request).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(unsupported(
            "Send JSON or a form, with `Content-Type: application/json` or \
             `application/x-www-form-urlencoded`",
        ));
    }
    form(&request.body().await?)
        .ok_or_else(|| Error::bad_request(format!("The body must be a form {WANTED}")))
}

fn form(body: &Bytes) -> Option<Body> {
    let text = std::str::from_utf8(body).ok()?;
    Some(Body {
        username: form_value(text, "username")?,
        password: Secret::new(form_value(text, "password")?),
        device_token: form_value(text, "device_token"),
    })
}
