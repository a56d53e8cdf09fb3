//! `POST /api/auth/login` and `POST /api/auth/refresh`: a password, or a token of parlor's own, for a
//! fresh token.
//!
//! A stranger learns nothing here: a name that nobody has, a user without a password and a wrong
//! password get the same answer after the same work. Only the right password is told more.

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json as value};
use tokio::sync::Semaphore;
use tracing::field::display;

use super::{is_json, media_type, unsupported, user_json};
use crate::clock::{self, Mono};
use crate::http::auth::AuthError;
use crate::http::forwarded::ClientInfo;
use crate::http::request::form_value;
use crate::http::{App, Error, Request, Response, json};
use crate::password;
use crate::rate::{KeyedLimiter, Limit, PerIpLimiter, SharedGcra};
use crate::storage::User;
use crate::token::Claims;

/// Attempts from one address, right or wrong: after a burst, this many a second.
const PER_SECOND: u64 = 1;
const BURST: u64 = 30;

/// Attempts at one name, from wherever: after a burst, one in this time.
const NAME_INTERVAL: Duration = Duration::from_secs(6);
const NAME_BURST: u64 = 20;

/// Addresses told apart, and names, about.
const TABLE_SIZE: usize = 4096;

/// Attempts from one known device of the user: the same rate as for a name.
const DEVICE_INTERVAL: Duration = NAME_INTERVAL;
const DEVICE_BURST: u64 = NAME_BURST;

/// The code of the answer to more.
const TOO_MANY_ATTEMPTS: &str = "too-many-attempts";

/// Passwords checked at the same time, at most: each takes 19 MiB and a core.
const MAX_CONCURRENT_HASHES: usize = 4;

/// What the routes need between requests. It does not grow.
pub struct Logins {
    sources: PerIpLimiter,
    names: KeyedLimiter,
    devices: KeyedLimiter,
    /// Separate slots for unknown and for known devices: they do not wait for each other.
    hashing: [Arc<Semaphore>; 2],
    log_limits: [SharedGcra; 3],
}

/// What there were too many attempts of.
#[derive(Clone, Copy)]
pub enum LimitReached {
    Address,
    Name,
    Invites,
}

impl LimitReached {
    fn reason(self) -> &'static str {
        match self {
            LimitReached::Address => "too many attempts from one address",
            LimitReached::Name => "too many attempts at one name",
            LimitReached::Invites => "too many attempts at invites from one address",
        }
    }
}

#[derive(Deserialize)]
struct Body {
    username: String,
    password: String,
    /// The device token of an earlier login of the same user.
    device_token: Option<String>,
}

impl Default for Logins {
    fn default() -> Logins {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Logins {
            sources: PerIpLimiter::new(Limit::per_second(PER_SECOND, BURST), TABLE_SIZE),
            names: KeyedLimiter::new(Limit::every(NAME_INTERVAL, NAME_BURST), TABLE_SIZE),
            devices: KeyedLimiter::new(Limit::every(DEVICE_INTERVAL, DEVICE_BURST), TABLE_SIZE),
            hashing: [cores.min(MAX_CONCURRENT_HASHES), 1]
                .map(|permits| Arc::new(Semaphore::new(permits))),
            log_limits: Default::default(),
        }
    }
}

impl Logins {
    /// Whether `password` is what `kept` was made of; waits for its turn. A check that has begun
    /// keeps its turn to its end, even where nobody waits for it any more.
    async fn verify(
        &self,
        password: String,
        kept: Option<String>,
        is_known: bool,
    ) -> Result<bool, Error> {
        let hashing = &self.hashing[usize::from(is_known)];
        let permit = hashing.clone().acquire_owned().await;
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            password::verify(&password, kept.as_deref())
        });
        checked.await.map_err(|_| Error::internal())
    }

    /// Counts any attempt from an address.
    fn limit_address(&self, client_info: &ClientInfo, now: Mono) -> Result<(), Error> {
        if !client_info.try_take(&self.sources, now) {
            self.log_limit(now, client_info.address, LimitReached::Address);
            return Err(too_many_from_address());
        }
        Ok(())
    }

    /// Counts an attempt for a name.
    fn limit_name(&self, client_info: &ClientInfo, name: &str, now: Mono) -> Result<(), Error> {
        if !self.names.take(name, now) {
            self.log_limit(now, client_info.address, LimitReached::Name);
            return Err(too_many_at_name());
        }
        Ok(())
    }

    /// Says which limit was reached, each once a minute: an attack must not fill the disk.
    pub fn log_limit(&self, now: Mono, client: IpAddr, limited: LimitReached) {
        if self.log_limits[limited as usize].take(Limit::per_minute(), now, 1) {
            let reason = limited.reason();
            tracing::info!(%client, reason, "logins limited");
        }
    }
}

pub async fn login(request: Request) -> Result<Response, Error> {
    let app = request.app.clone();
    counted(&app, "password", enter(request).await)
}

async fn enter(request: Request) -> Result<Response, Error> {
    let app = request.app.clone();
    app.accepts_newcomers()?;
    let now = clock::now();
    let (logins, client_info, user_cell) = (
        &app.api.logins,
        request.client_info.clone(),
        request.user_cell(),
    );
    let body = body(request).await;
    let settings = app.settings();
    let devices = settings.tokens.devices();
    let device = body.as_ref().ok().and_then(|body| {
        let token = body.device_token.as_deref()?;
        devices.check(token, &body.username, now.unix)
    });
    // Other clients can use up the attempts of a name and of an address, but not of a device.
    let is_known = device.is_some_and(|device| logins.devices.take(device, now.mono));
    if !is_known {
        logins.limit_address(&client_info, now.mono)?;
    }
    let body = body?;
    if !is_known {
        logins.limit_name(&client_info, &body.username, now.mono)?;
    }
    let (user, kept) = match app.store.login(&body.username).await? {
        Some((user, kept)) => (Some(user), kept),
        None => (None, None),
    };
    let id = user.as_ref().map(|user| user.id.clone());
    let fits = logins.verify(body.password, kept, is_known).await?;
    let refused = |reason| {
        // docs/run/fail2ban/filter.d/parlor.conf reads this line, and bans the client. The typed name
        // is not logged: users sometimes type their password there.
        let (client, hint) = (
            client_info.bannable_address().map(display),
            client_info.ambiguous_address(),
        );
        tracing::info!(client, from = hint, user = id, reason, "login refused");
    };
    let Some(user) = user.filter(|_| fits) else {
        refused("wrong name or password");
        return Err(wrong());
    };
    if user.disabled {
        refused("the user is disabled");
        return Err(AuthError::Disabled.into());
    }
    let _ = user_cell.set(user.id.as_str().into());
    let mut answer = admit(&app, &user, None);
    answer["device_token"] = devices.issue(device, &body.username, now.unix).into();
    Ok(json(StatusCode::OK, &answer))
}

/// Counts an attempt to get a token.
pub fn counted(
    app: &App,
    by: &'static str,
    outcome: Result<Response, Error>,
) -> Result<Response, Error> {
    let word = outcome
        .as_ref()
        .map_or_else(|error| error.code, |_| "success");
    app.metrics.entrance.attempted(by, word);
    outcome
}

pub async fn refresh(request: Request) -> Result<Response, Error> {
    let caller = request.caller().await?;
    if !caller.claims.own {
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            "foreign-token",
            "Somebody else issued this token: ask them for a fresh one",
        ));
    }
    let answer = admit(&request.app, &caller.user, caller.claims.rooms);
    Ok(json(StatusCode::OK, &answer))
}

/// A fresh token for `user`, who may be let in; a guest's ends when their time does.
pub fn admit(app: &App, user: &User, rooms: Option<Vec<String>>) -> Value {
    let now = clock::now().unix;
    let settings = app.settings();
    let ttl = settings.config.auth.token_ttl.as_secs();
    let exp = now.saturating_add(ttl);
    let exp = user
        .guest
        .as_ref()
        .map_or(exp, |guest| exp.min(guest.until));
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

pub fn too_many_from_address() -> Error {
    too_many(
        TOO_MANY_ATTEMPTS,
        "Too many attempts from your address; wait a moment, then try again",
        Duration::from_secs(1),
    )
}

fn too_many_at_name() -> Error {
    too_many(
        TOO_MANY_ATTEMPTS,
        "Too many attempts at this name; wait a moment, then try again",
        NAME_INTERVAL,
    )
}

pub fn too_many(code: &'static str, detail: &'static str, wait: Duration) -> Error {
    let error = Error::new(StatusCode::TOO_MANY_REQUESTS, code, detail);
    error.with(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()))
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
async fn body(request: Request) -> Result<Body, Error> {
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
        password: form_value(text, "password")?,
        device_token: form_value(text, "device_token"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_password_waits_for_its_turn_to_be_checked() {
        let logins = Logins {
            hashing: [1, 1].map(|permits| Arc::new(Semaphore::new(permits))),
            ..Logins::default()
        };
        let hash = password::hash("right").unwrap();
        let [strangers, devices] = &logins.hashing;
        let permit = strangers.clone().acquire_owned().await.unwrap();
        let verify = |is_known| logins.verify("right".to_owned(), Some(hash.clone()), is_known);
        let mut waiting = Box::pin(verify(false));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(strangers.available_permits(), 0);
        // A known device does not wait for unknown ones.
        assert_eq!(verify(true).await, Ok(true));
        drop(permit);
        assert_eq!(waiting.await, Ok(true));
        assert_eq!(strangers.available_permits(), 1);
        assert_eq!(devices.available_permits(), 1);
    }
}
