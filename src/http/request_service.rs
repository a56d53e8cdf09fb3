//! The requests of one connection: from hyper's request to the router's response.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Version};
use tower_layer::Layer;
use tower_service::Service as _;
use tracing::Span;

use super::error::Error;
use super::forwarded::{ClientInfo, host_header};
use super::request::RequestContext;
use super::response::Response;
use super::router::Router;
use super::state::State;
use super::{base_path, cors, hsts, redirect};
use crate::ingress::{Accepted, ConnectionPermit, Protocol};

/// The state that all connections of a server share.
pub(super) struct Shared {
    pub state: Arc<State>,
    pub router: Router,
    /// The port of `http.listen`, for redirects to HTTPS.
    pub https_port: u16,
}

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct RequestService {
    shared: Arc<Shared>,
    client: SocketAddr,
    is_tls: bool,
    /// Whether requests are redirected to HTTPS.
    redirect: bool,
    permit: ConnectionPermit,
    /// The span of the connection.
    span: Span,
}

impl RequestService {
    /// Call it in the span of the connection.
    pub(super) fn new(
        shared: Arc<Shared>,
        accepted: &Accepted,
        permit: ConnectionPermit,
    ) -> RequestService {
        RequestService {
            shared,
            client: accepted.client,
            is_tls: accepted.stream.is_tls(),
            redirect: accepted.protocol == Protocol::Http1 { redirect: true },
            permit,
            span: Span::current(),
        }
    }

    /// Answers a request. It counts as active until the response is complete.
    pub(super) fn respond(
        &self,
        request: hyper::Request<Incoming>,
    ) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
        let active = self.permit.begin_request();
        let closes = request.version() == Version::HTTP_11 && self.permit.is_scarce();
        let state = &self.shared.state;
        let app = &state.app;
        let answering = validate_host(&request).map(|()| {
            // Read for each request: a connection may outlive the settings.
            let settings = app.settings();
            let derived = state.derived.get(&settings);
            derived.cors.layer(self.clone()).call(request)
        });
        let answering = answering.inspect_err(|error| app.metrics.http.rejected(error.code));
        async move {
            let mut response = match answering {
                Ok(answering) => answering.await?,
                Err(error) => error.into_response(),
            };
            if closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            drop(active);
            Ok(response)
        }
    }

    async fn answer(self, mut request: hyper::Request<Incoming>) -> Result<Response, Error> {
        let RequestService {
            shared,
            permit,
            span,
            ..
        } = self;
        let state = &shared.state;
        let settings = state.app.settings();
        let http = &settings.config.http;
        copy_authority_to_host(&mut request);
        let derived = state.derived.get(&settings);
        if let Some(uri) = base_path::strip(request.uri(), &derived.base_path) {
            *request.uri_mut() = uri;
        }
        let mut client_info =
            ClientInfo::new(self.client.ip(), request.headers(), &http.trusted_proxies);
        client_info.https = client_info.https.or(self.is_tls.then_some(true));
        if self.redirect && !redirect::is_served(request.uri(), &client_info) {
            let host = client_info.requested_host(request.headers());
            let config = &settings.config;
            return redirect::by_https(config, request.uri(), host, shared.https_port);
        }
        if !cors::is_allowed(&derived.origins, request.headers(), &client_info) {
            return Err(Error::new(
                StatusCode::FORBIDDEN,
                "origin",
                "This page may not call this server",
            ));
        }
        let tls_host = self
            .is_tls
            .then(|| host_header(request.headers()))
            .flatten();
        let context = RequestContext {
            client_info,
            permit,
            connection_span: span,
        };
        let mut response = shared.router.answer(state.clone(), context, request).await;
        if self.is_tls {
            hsts::add(&mut response, settings.config.tls.mode, tls_host.as_ref());
        }
        Ok(response)
    }
}

/// Rejects a request without exactly one host (RFC 9112 section 3.2): a proxy may have checked another one.
fn validate_host(request: &hyper::Request<Incoming>) -> Result<(), Error> {
    let mut named = request.headers().get_all(header::HOST).into_iter();
    let is_sound = match (named.next(), named.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes());
            host.is_empty() || authority.is_ok_and(|one| !one.as_str().contains('@'))
        }
        (Some(_), Some(_)) => false,
    };
    if is_sound {
        Ok(())
    } else {
        Err(Error::bad_request("The request must name one host")
            .with(header::CONNECTION, HeaderValue::from_static("close")))
    }
}

/// Copies the `:authority` of HTTP/2 (RFC 9113 section 8.3.1) to the `Host` header, where later code reads it.
fn copy_authority_to_host(request: &mut hyper::Request<Incoming>) {
    let authority = request.uri().authority();
    let host = authority.and_then(|one| HeaderValue::from_str(one.as_str()).ok());
    if let Some(host) = host.filter(|_| is_http2(request)) {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn is_http2(request: &hyper::Request<Incoming>) -> bool {
    request.version() == Version::HTTP_2
}

/// Removes the body of a response to HEAD. hyper does so over HTTP/1.1 only.
fn without_body(response: Response) -> Response {
    let length = response.body().size_hint().exact().unwrap_or(0);
    let mut response = response.map(|_| Full::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

impl tower_service::Service<hyper::Request<Incoming>> for RequestService {
    type Response = Response;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<Incoming>) -> Self::Future {
        let headers_alone = request.method() == Method::HEAD && is_http2(&request);
        let answering = self.clone().answer(request);
        Box::pin(async move {
            let response = answering.await.unwrap_or_else(Error::into_response);
            Ok(if headers_alone {
                without_body(response)
            } else {
                response
            })
        })
    }
}
