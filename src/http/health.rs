//! Alive, fit for traffic, which build, and the figures.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::json as value;

use super::exchange::{Error, Request, Response, json};
use super::router::Route;

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
        Route::new(Method::GET, "/metrics", |r| Box::pin(metrics(r))),
    ]
}

async fn alive(_: Request) -> Result<Response, Error> {
    Ok(json(StatusCode::OK, &value!({"status": "ok"})))
}

/// Fit for traffic: the store takes writes. That the relay is bound is certain by now: the daemon
/// serves nothing before.
async fn ready(request: Request) -> Result<Response, Error> {
    if let Err(error) = request.app.store.check_writable().await {
        tracing::error!(%error, "the store takes no writes");
        return Err(Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store",
            "The store takes no writes",
        ));
    }
    Ok(json(StatusCode::OK, &value!({"status": "ready"})))
}

async fn version(_: Request) -> Result<Response, Error> {
    let build = value!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
    Ok(json(StatusCode::OK, &build))
}

async fn metrics(request: Request) -> Result<Response, Error> {
    let mut response = Response::new(Full::new(Bytes::from(request.app.metrics.encode())));
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
