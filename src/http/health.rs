//! Alive, fit for traffic, which build, and the figures.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json as value};

use super::App;
use super::accept_header;
use super::error::Error;
use super::request::Request;
use super::response::{Response, json};
use super::router::Route;
use crate::clock;
use crate::rate::{Limit, SharedGcra};
use crate::storage::StoreError;

/// For an answer of the store: whoever asks whether all is well does not wait long.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/healthz", |r| Box::pin(alive(r))),
        Route::new(Method::GET, "/readyz", |r| Box::pin(ready(r))),
        Route::new(Method::GET, "/api/version", |r| Box::pin(version(r))),
    ]
}

/// Of the admin listener, whose address nobody else should reach.
pub fn metrics_routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/healthz", |r| Box::pin(alive(r))),
        Route::new(Method::GET, "/readyz", |r| Box::pin(ready(r))),
        Route::new(Method::GET, "/metrics", |r| Box::pin(metrics(r))),
    ]
}

async fn alive(_: Request) -> Result<Response, Error> {
    Ok(json(StatusCode::OK, &value!({"status": "ok"})))
}

/// What has to hold before traffic is sent here, each with what is wrong where it does not.
struct Checks {
    store: Result<(), &'static str>,
    relay: Result<(), &'static str>,
}

impl Checks {
    async fn run(app: &App) -> Checks {
        let (store, relay) = tokio::join!(store(app), relay(app));
        Checks { store, relay }
    }

    fn named(&self) -> [(&'static str, Result<(), &'static str>); 2] {
        [("store", self.store), ("relay", self.relay)]
    }
}

/// When each part was last told to be out of order: anybody may ask, as often as they like, and
/// must not fill a disk.
#[derive(Default)]
pub struct FailureLogLimits {
    store: SharedGcra,
    relay: SharedGcra,
}

/// Whether it is to be told now: once a minute.
fn should_log(limit: &SharedGcra) -> bool {
    limit.take(Limit::per_minute(), clock::now().mono, 1)
}

impl App {
    /// What keeps this from being fit for traffic, a sentence each.
    pub async fn not_ready(&self) -> Vec<&'static str> {
        let checks = Checks::run(self).await.named();
        let wrong = checks.into_iter().filter_map(|(_, outcome)| outcome.err());
        wrong.chain(self.draining()).collect()
    }

    /// Whether nothing is stuck: every shard of the relay answers, and so does the store, even if it
    /// has no room left, which no restart would change.
    pub async fn is_responsive(&self) -> bool {
        let store = tokio::time::timeout(STORE_TIMEOUT, self.store.check_writable());
        let (store, relay) = tokio::join!(store, self.relay.is_alive());
        let stuck = |error: &StoreError| {
            use StoreError::{Closed, Locked, TimedOut};
            matches!(error, Locked(_) | TimedOut { .. } | Closed(_))
        };
        let store = store.is_ok_and(|outcome| !outcome.as_ref().is_err_and(stuck));
        store && relay
    }

    /// Rooms that somebody is connected to, and connections.
    pub fn usage(&self) -> (i64, i64) {
        let counts = &self.hub.counts;
        (counts.rooms.get(), counts.connections.get())
    }

    /// How many rooms are open, and how many memberships there are in them; `None` where the store
    /// does not say so in time, which the log tells.
    pub async fn census(&self) -> Option<(i64, i64)> {
        match tokio::time::timeout(STORE_TIMEOUT, self.store.room_counts()).await {
            Ok(Ok(counted)) => return Some(counted),
            Ok(Err(error)) => tracing::error!(%error, "rooms and participants cannot be counted"),
            Err(_) => tracing::error!("rooms and participants cannot be counted in time"),
        }
        None
    }
}

async fn store(app: &App) -> Result<(), &'static str> {
    let limit = &app.api.failure_logs.store;
    match tokio::time::timeout(STORE_TIMEOUT, app.store.check_writable()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            if should_log(limit) {
                tracing::error!(%error, "not ready: the store takes no writes");
            }
            Err(match error {
                StoreError::Replaced(_) => "the database file was removed or replaced",
                _ => "the store takes no writes",
            })
        }
        Err(_) => {
            if should_log(limit) {
                tracing::error!("not ready: the store does not answer in time");
            }
            Err("the store does not answer in time")
        }
    }
}

/// The daemon serves nothing before the relay is bound, so all that can be wrong is that it has
/// stopped to work.
async fn relay(app: &App) -> Result<(), &'static str> {
    if app.relay.is_alive().await {
        return Ok(());
    }
    if should_log(&app.api.failure_logs.relay) {
        tracing::error!("not ready: the relay does not answer in time");
    }
    Err("the relay does not answer in time")
}

/// How the certificate is doing, where TLS is spoken. Whatever it is, traffic is welcome: without it the
/// authority's challenges would not come through either, and nothing would ever change.
fn certificate(app: &App) -> Option<&'static str> {
    let status = app.certificate.as_ref()?.status();
    let now = clock::now().unix;
    Some(match status.validity {
        None => "there is none yet",
        Some(validity) if validity.is_expired(now) => "it has expired",
        Some(_) => "ok",
    })
}

/// Fit for traffic, or what is not. The causes stand in the log: anybody may ask.
async fn ready(request: Request) -> Result<Response, Error> {
    let checks = Checks::run(&request.app).await.named();
    let wrong: Vec<_> = checks
        .iter()
        .filter_map(|(_, outcome)| outcome.err())
        .chain(request.app.draining())
        .collect();
    let told =
        checks.map(|(name, outcome)| (name.to_owned(), outcome.err().unwrap_or("ok").into()));
    let mut told: Map<String, Value> = told.into_iter().collect();
    let certificate = certificate(&request.app);
    told.extend(certificate.map(|word| ("certificate".to_owned(), word.into())));
    if wrong.is_empty() {
        let answer = value!({ "status": "ready", "checks": told });
        return Ok(json(StatusCode::OK, &answer));
    }
    let answer = value!({
        "status": "not-ready",
        "checks": told,
        "detail": format!("Not ready: {}", wrong.join(", and ")),
        "code": "not-ready",
    });
    Ok(json(StatusCode::SERVICE_UNAVAILABLE, &answer))
}

async fn version(_: Request) -> Result<Response, Error> {
    let build = value!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
    Ok(json(StatusCode::OK, &build))
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A store that does not answer keeps the other figures from nobody.
async fn metrics(request: Request) -> Result<Response, Error> {
    if let Some((rooms, participants)) = request.app.census().await {
        let census = &request.app.metrics.census;
        census.rooms.set(rooms);
        census.participants.set(participants);
    }
    let status = request.app.certificate.as_ref().map(|one| one.status());
    let validity = status.and_then(|status| status.validity);
    let end = validity.map_or(0, |validity| validity.until);
    request.app.metrics.certificate_end.set(end);
    let metrics = &request.app.metrics;
    let (text, kind) = match accept_header::prefers_openmetrics(request.headers()) {
        true => (metrics.openmetrics(), OPENMETRICS),
        false => (metrics.classic(), CLASSIC_METRICS),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}
