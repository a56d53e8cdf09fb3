//! Liveness, readiness, version and metrics.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json as value};

use super::accept_header;
use super::error::Error;
use super::request::Request;
use super::response::{Response, json};
use super::route::Route;
use crate::clock;
use crate::metrics::MetricNames;
use crate::service::App;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/healthz", |r| Box::pin(alive(r))),
        Route::new(Method::GET, "/readyz", |r| Box::pin(ready(r))),
        Route::new(Method::GET, "/api/version", |r| Box::pin(version(r))),
    ]
}

/// The routes of the metrics listener.
pub(super) fn metrics_routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/healthz", |r| Box::pin(alive(r))),
        Route::new(Method::GET, "/readyz", |r| Box::pin(ready(r))),
        Route::new(Method::GET, "/metrics", |r| Box::pin(metrics(r))),
    ]
}

async fn alive(_: Request) -> Result<Response, Error> {
    Ok(json(StatusCode::OK, &value!({"status": "ok"})))
}

/// The status of the certificate. It does not affect readiness: without traffic, the challenges of the
/// authority would not arrive.
fn certificate(app: &App) -> Option<&'static str> {
    let status = app.certificate.as_ref()?.status();
    let now = clock::now().unix;
    Some(match status.validity {
        None => "there is none yet",
        Some(validity) if validity.is_expired(now) => "it has expired",
        Some(_) => "ok",
    })
}

/// Reports readiness, and the failed checks. The causes are only logged, because the route is public.
async fn ready(request: Request) -> Result<Response, Error> {
    let checks = request.app.check_health().await;
    let failed = checks.reasons(&request.app);
    let degraded = checks.degraded();
    let named = checks.named().into_iter();
    let checks_json = named.map(|(name, outcome)| (name.to_owned(), outcome.into()));
    let mut checks_json: Map<String, Value> = checks_json.into_iter().collect();
    let certificate = certificate(&request.app);
    checks_json.extend(certificate.map(|word| ("certificate".to_owned(), word.into())));
    if failed.is_empty() {
        let mut answer = value!({ "status": "ready", "checks": checks_json });
        if let Some(degraded) = degraded {
            answer["degraded"] = degraded.into();
        }
        return Ok(json(StatusCode::OK, &answer));
    }
    let answer = value!({
        "status": "not-ready",
        "checks": checks_json,
        "detail": format!("Not ready: {}", failed.join(", and ")),
        "code": "not-ready",
    });
    Ok(json(StatusCode::SERVICE_UNAVAILABLE, &answer))
}

async fn version(_: Request) -> Result<Response, Error> {
    let build = value!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
    Ok(json(StatusCode::OK, &build))
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the metrics, without current room counts if the store does not answer.
async fn metrics(request: Request) -> Result<Response, Error> {
    if let Some((rooms, participants)) = request.app.room_counts().await {
        let totals = &request.app.metrics.totals;
        totals.rooms.set(rooms);
        totals.participants.set(participants);
    }
    let status = request.app.certificate.as_ref().map(|one| one.status());
    let validity = status.and_then(|status| status.validity);
    let end = validity.map_or(0, |validity| validity.until);
    request.app.metrics.certificate_expiry.set(end);
    let metrics = &request.app.metrics;
    let names = if request.app.settings().config.admin.old_metric_names {
        MetricNames::Old
    } else {
        MetricNames::Current
    };
    let (text, kind) = if accept_header::prefers_openmetrics(request.headers()) {
        (metrics.openmetrics(names), OPENMETRICS)
    } else {
        (metrics.prometheus_text(names), PROMETHEUS_TEXT)
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}
