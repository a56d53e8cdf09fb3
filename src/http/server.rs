//! Listeners and their connections: how many, how long, how large.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Version as Spoken};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_layer::Layer;
use tower_service::Service as _;

use super::connection::{ActiveRequest, ActiveRequests, MAX_HEAD_BYTES, http1, http2};
use super::connection_limit::{AcquireError, ConnectionLimit, ConnectionPermit};
use super::door::{self, Errand, Front, Stray, Version};
use super::error::Error;
use super::forwarded::ClientInfo;
use super::request::{RequestContext, UserCell};
use super::response::Response;
use super::router::Router;
use super::state::State;
use super::stream::Stream;
use super::write_timeout::WriteTimeout;
use super::{base_path, cors, head, hsts, redirect};
use crate::clock;
use crate::config;
use crate::proxy_protocol::{self, HeaderError};
use crate::rate::{Limit, SharedGcra};
use crate::service::App;

/// What is waited where the process has no descriptor left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Where clients come in.
pub struct Listeners {
    /// `http.listen`.
    pub main: Vec<TcpListener>,
    /// What is spoken there, where that is TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// `http.plain_listen`.
    pub plain: Vec<TcpListener>,
}

/// Serves the public routes until `shutdown`, then closes the WebSockets and waits for what is
/// under way.
pub async fn serve(state: Arc<State>, listeners: Listeners, shutdown: CancellationToken) {
    let app = &state.app;
    let (hub, bound) = (app.hub.clone(), app.settings().config.http.max_connections);
    let port = listeners.main.first().and_then(|one| one.local_addr().ok());
    let server = Server::new(
        state,
        Router::public(),
        port.map_or(443, |one| one.port()),
        bound,
    );
    let front = listeners.tls.map_or(Front::Plain, Front::Tls);
    let main = listeners.main.into_iter().map(|one| (one, front.clone()));
    let plain = listeners.plain.into_iter();
    let plain = plain.map(|listener| (listener, Front::Redirect));
    let serving = server.run(main.chain(plain).collect(), shutdown.clone());
    let closing = async {
        shutdown.cancelled().await;
        hub.shutdown();
    };
    tokio::join!(serving, closing);
    hub.wait_for_connections().await;
}

/// Serves the metrics routes until `shutdown`.
pub async fn serve_metrics(
    state: Arc<State>,
    listeners: Vec<TcpListener>,
    shutdown: CancellationToken,
) {
    const SCRAPERS: usize = 64;
    let listeners = listeners.into_iter().map(|one| (one, Front::Inside));
    Server::new(state, Router::metrics(), 0, SCRAPERS)
        .run(listeners.collect(), shutdown)
        .await;
}

struct Server {
    state: Arc<State>,
    app: Arc<App>,
    router: Arc<Router>,
    /// Of `http.listen`: where requests are sent on to that came without TLS.
    port: u16,
    connection_limit: Arc<ConnectionLimit>,
    tasks: TaskTracker,
    proxy_log_limit: SharedGcra,
}

impl Server {
    fn new(state: Arc<State>, router: Router, port: u16, connections: usize) -> Server {
        let app = state.app.clone();
        let connection_limit =
            ConnectionLimit::new(connections, app.metrics.http.connections.clone());
        Server {
            state,
            app,
            router: Arc::new(router),
            port,
            connection_limit,
            tasks: TaskTracker::new(),
            proxy_log_limit: SharedGcra::default(),
        }
    }

    async fn run(self, listeners: Vec<(TcpListener, Front)>, shutdown: CancellationToken) {
        let server = Arc::new(self);
        for (listener, front) in listeners {
            let accepting = server.clone().accept(listener, front, shutdown.clone());
            server.tasks.spawn(accepting);
        }
        server.tasks.close();
        server.tasks.wait().await;
    }

    /// Accepts while there are connection_limit, or a connection can be evicted; else clients wait in the kernel's
    /// backlog.
    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        front: Front,
        shutdown: CancellationToken,
    ) {
        let log_limit = SharedGcra::default();
        while let Some((stream, peer, permit)) = shutdown
            .run_until_cancelled(self.next(&listener, &log_limit))
            .await
        {
            let (server, front, shutdown) = (self.clone(), front.clone(), shutdown.clone());
            self.tasks.spawn(async move {
                let evicted = permit.clone();
                tokio::select! {
                    () = server.clone().connection(stream, peer, front, permit, shutdown) => {}
                    () = evicted.evicted() => server.log_evicted(peer),
                }
            });
        }
    }

    async fn next(
        &self,
        listener: &TcpListener,
        log_limit: &SharedGcra,
    ) -> (TcpStream, SocketAddr, ConnectionPermit) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(permit) = self.permit(peer).await {
                        return (stream, peer, permit);
                    }
                }
                Err(e) if is_of_one_connection(&e) => {}
                Err(e) => {
                    if log_limit.take(Limit::per_minute(), clock::now().mono, 1) {
                        tracing::warn!(error = %e, "no connection can be accepted");
                    }
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// Waits for a permit for a connection of `peer`; `None` if the connection is rejected.
    async fn permit(&self, peer: SocketAddr) -> Option<ConnectionPermit> {
        loop {
            let settings = self.app.settings();
            let http = &settings.config.http;
            // A proxy has connections of many clients.
            let is_proxy = proxy_protocol::is_due(true, &http.trusted_proxies, peer.ip());
            let client = (!is_proxy).then_some(peer.ip());
            match self
                .connection_limit
                .take(client, http.max_connections_per_address)
            {
                Ok(permit) => return Some(permit),
                Err(AcquireError::Full) => {
                    drop(settings);
                    self.connection_limit.released().await;
                }
                Err(refused) => {
                    self.turned_away(peer, refused);
                    return None;
                }
            }
        }
    }

    fn turned_away(&self, client: SocketAddr, refused: AcquireError) {
        let reason = match refused {
            AcquireError::AddressLimit => "address",
            AcquireError::LargestShare | AcquireError::Full => "all",
        };
        self.app.metrics.http.closed_at_limit(reason);
        tracing::debug!(%client, reason, "connection over the limit closed");
    }

    fn log_evicted(&self, client: SocketAddr) {
        self.app.metrics.http.closed_at_limit("gave way");
        tracing::debug!(%client, reason = "gave way", "connection over the limit closed");
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        front: Front,
        permit: ConnectionPermit,
        shutdown: CancellationToken,
    ) {
        let http = self.app.settings().config.http.clone();
        let entering = door::enter(stream, peer, &front, &http);
        let guest = match shutdown.run_until_cancelled(entering).await {
            None => return,
            Some(Ok(guest)) => guest,
            Some(Err(Stray::Unannounced(error))) => return self.unannounced(peer, &error),
            Some(Err(error)) => {
                if matches!(error, Stray::Handshake(_)) {
                    self.app.metrics.http.tls_handshake_errors.inc();
                }
                tracing::debug!(%peer, %error, "a connection led nowhere");
                return;
            }
        };
        let client = guest.client;
        if client.ip() != peer.ip()
            && let Err(refused) =
                permit.assign_address(client.ip(), http.max_connections_per_address)
        {
            return self.turned_away(client, refused);
        }
        let peer = client;
        match guest.errand {
            // From now on it counts among those of TURN.
            Errand::Turn(stream, session) => self.app.relay.serve_stream(stream, session, peer),
            Errand::Done => tracing::debug!(%peer, "a challenge was answered by a handshake"),
            Errand::Http {
                stream,
                version,
                redirect,
            } => {
                let service = Service {
                    is_tls: stream.is_tls(),
                    server: self,
                    peer,
                    redirect,
                    permit,
                };
                Box::pin(service.serve(stream, version, &http, shutdown)).await;
            }
        }
    }

    /// Told seldom: a check that only connects does so every second.
    fn unannounced(&self, proxy: SocketAddr, error: &HeaderError) {
        self.app.metrics.http.missing_proxy_headers.inc();
        let proxy = proxy.ip();
        match self
            .proxy_log_limit
            .take(Limit::per_minute(), clock::now().mono, 1)
        {
            true => tracing::warn!(%proxy, %error, "a trusted proxy names no client"),
            false => tracing::debug!(%proxy, %error, "a trusted proxy names no client"),
        }
    }
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Service {
    server: Arc<Server>,
    peer: SocketAddr,
    is_tls: bool,
    /// Whether requests are sent on to where TLS is spoken.
    redirect: bool,
    permit: ConnectionPermit,
}

impl Service {
    /// Answers to the end of the connection.
    async fn serve(
        self,
        mut stream: Stream,
        version: Version,
        limits: &config::Http,
        shutdown: CancellationToken,
    ) {
        let (peer, server) = (self.peer, self.server.clone());
        let early = match version {
            Version::Http1 => {
                let head = head::read(&mut stream, MAX_HEAD_BYTES, limits.header_timeout);
                match shutdown.run_until_cancelled(head).await {
                    None => return,
                    Some(Ok(head)) => head,
                    Some(Err(error)) => {
                        tracing::debug!(%peer, %error, "HTTP connection ended");
                        return;
                    }
                }
            }
            Version::Http2 => Vec::new(),
        };
        let stream = WriteTimeout::new(stream, early, limits.request_timeout);
        let running = ActiveRequests::new(0);
        let counted = running.clone();
        // Settings are asked for each request: a connection may outlive them.
        let service = hyper::service::service_fn(move |request| {
            let busy = (ActiveRequest::begin(&counted), self.permit.begin_request());
            let closes = request.version() == Spoken::HTTP_11 && self.permit.is_scarce();
            let app = &self.server.app;
            let answering = validate_host(&request).map(|()| {
                let settings = app.settings();
                let derived = self.server.state.derived.get(&settings);
                derived.cors.layer(self.clone()).call(request)
            });
            let answering = answering.inspect_err(|error| app.metrics.http.rejected(error.code));
            async move {
                let mut answer = match answering {
                    Ok(answering) => answering.await,
                    Err(error) => Ok(error.into_response()),
                };
                if let Ok(answer) = &mut answer
                    && closes
                    && answer.status() != StatusCode::SWITCHING_PROTOCOLS
                {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                drop(busy);
                answer
            }
        });
        let ended = match version {
            // Boxed: a connection without a request does not allocate memory for later states.
            Version::Http1 => Box::pin(http1(stream, service, limits, &shutdown)).await,
            Version::Http2 => {
                let tasks = &server.tasks;
                Box::pin(http2(stream, service, &running, limits, tasks, &shutdown)).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP connection ended");
        }
    }

    async fn answer(self, mut request: hyper::Request<Incoming>) -> Result<Response, Error> {
        let Service { server, permit, .. } = self;
        let settings = server.app.settings();
        let http = &settings.config.http;
        copy_authority_to_host(&mut request);
        if let Some(uri) = base_path::strip(
            request.uri(),
            &server.state.derived.get(&settings).base_path,
        ) {
            *request.uri_mut() = uri;
        }
        let mut client_info =
            ClientInfo::new(self.peer.ip(), request.headers(), &http.trusted_proxies);
        client_info.https = client_info.https.or(self.is_tls.then_some(true));
        let host = client_info.host.as_deref();
        if self.redirect && !redirect::is_served(request.uri(), &client_info) {
            let asked = request.headers().get(header::HOST);
            let asked = asked.and_then(|host| host.to_str().ok());
            let config = &settings.config;
            return redirect::by_https(config, request.uri(), host.or(asked), server.port);
        }
        if !cors::is_allowed(&http.allowed_origins, request.headers(), host) {
            return Err(Error::new(
                StatusCode::FORBIDDEN,
                "origin",
                "This page may not call this server",
            ));
        }
        let asked = request.headers().get(header::HOST).cloned();
        let user = UserCell::default();
        let context = RequestContext {
            client_info,
            user,
            permit,
        };
        let mut response = server
            .router
            .answer(server.state.clone(), context, request)
            .await;
        if self.is_tls {
            let asked = asked.as_ref().and_then(|host| host.to_str().ok());
            hsts::add(&mut response, settings.config.tls.mode, asked);
        }
        Ok(response)
    }
}

/// A request has exactly one host (RFC 9112 section 3.2): of two, a proxy might have checked the other.
fn validate_host(request: &hyper::Request<Incoming>) -> Result<(), Error> {
    let mut named = request.headers().get_all(header::HOST).into_iter();
    let is_sound = match (named.next(), named.next()) {
        (None, _) => request.version() != Spoken::HTTP_11,
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes());
            host.is_empty() || authority.is_ok_and(|one| !one.as_str().contains('@'))
        }
        (Some(_), Some(_)) => false,
    };
    match is_sound {
        true => Ok(()),
        // The start of the next request is uncertain, too.
        false => Err(Error::bad_request("The request must name one host")
            .with(header::CONNECTION, HeaderValue::from_static("close"))),
    }
}

/// HTTP/2 has the host in its `:authority` (RFC 9113 section 8.3.1): the one place to look at is the
/// `Host` header.
fn copy_authority_to_host(request: &mut hyper::Request<Incoming>) {
    let authority = request.uri().authority();
    let host = authority.and_then(|one| HeaderValue::from_str(one.as_str()).ok());
    if let Some(host) = host.filter(|_| is_http2(request)) {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn is_http2(request: &hyper::Request<Incoming>) -> bool {
    request.version() == Spoken::HTTP_2
}

/// Over HTTP/1.1 hyper leaves the body of an answer to HEAD out; over HTTP/2 it would send it.
fn without_body(response: Response) -> Response {
    let length = response.body().size_hint().exact().unwrap_or(0);
    let mut response = response.map(|_| Full::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

impl tower_service::Service<hyper::Request<Incoming>> for Service {
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
            Ok(match headers_alone {
                true => without_body(response),
                false => response,
            })
        })
    }
}

/// Errors of accept(2) that say nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
