//! Listeners and their connections: how many, how long, how large.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_layer::Layer;
use tower_service::Service as _;

use super::exchange::{Caller, Error, Response, Who};
use super::forwarded::Asker;
use super::patience::Patience;
use super::router::Router;
use super::{App, api, origin, socket};
use crate::clock;
use crate::config;
use crate::proxy_protocol::{self, HeaderError};
use crate::rate::{Limit, SharedCell};

/// Bytes of a request's head; browsers' tokens stay far below.
const MAX_HEAD: usize = 16 * 1024;
/// What is waited where the process has no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// Serves the public routes until `shutdown`, then closes the WebSockets and waits for what is
/// under way.
pub async fn serve(app: Arc<App>, listeners: Vec<TcpListener>, shutdown: CancellationToken) {
    let (hub, bound) = (app.hub.clone(), app.settings().config.http.max_connections);
    let rechecking = tokio::spawn(socket::recheck(app.clone(), shutdown.clone()));
    let sweeping = tokio::spawn(api::sweep(app.clone(), shutdown.clone()));
    let serving = Server::new(app, Router::public(), true, bound).run(listeners, shutdown.clone());
    let closing = async {
        shutdown.cancelled().await;
        hub.shutdown();
    };
    tokio::join!(serving, closing);
    hub.tasks.close();
    hub.tasks.wait().await;
    rechecking.abort();
    sweeping.abort();
}

/// Serves the metrics routes until `shutdown`.
pub async fn serve_metrics(
    app: Arc<App>,
    listeners: Vec<TcpListener>,
    shutdown: CancellationToken,
) {
    const SCRAPERS: usize = 64;
    Server::new(app, Router::metrics(), false, SCRAPERS)
        .run(listeners, shutdown)
        .await;
}

/// A connection's share of `http.max_connections`; free again when the last holder is gone.
#[derive(Clone)]
pub(super) struct Slot {
    _open: Arc<Open>,
}

/// An open connection.
struct Open {
    _permit: OwnedSemaphorePermit,
    connections: Gauge,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

struct Server {
    app: Arc<App>,
    router: Arc<Router>,
    /// Whether clients come here, maybe by a balancer.
    is_public: bool,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    told_of_proxy: SharedCell,
}

impl Server {
    fn new(app: Arc<App>, router: Router, is_public: bool, connections: usize) -> Server {
        Server {
            app,
            router: Arc::new(router),
            is_public,
            slots: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            told_of_proxy: SharedCell::default(),
        }
    }

    async fn run(self, listeners: Vec<TcpListener>, shutdown: CancellationToken) {
        let server = Arc::new(self);
        for listener in listeners {
            let accepting = server.clone().accept(listener, shutdown.clone());
            server.tasks.spawn(accepting);
        }
        server.tasks.close();
        server.tasks.wait().await;
    }

    /// Accepts while there are slots: past that, clients wait in the kernel's backlog.
    async fn accept(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        let told = SharedCell::default();
        while let Some((stream, peer, slot)) = shutdown
            .run_until_cancelled(self.next(&listener, &told))
            .await
        {
            let connection = self
                .clone()
                .connection(stream, peer, slot, shutdown.clone());
            self.tasks.spawn(connection);
        }
    }

    async fn next(
        &self,
        listener: &TcpListener,
        told: &SharedCell,
    ) -> (TcpStream, SocketAddr, Slot) {
        let permit = self.slots.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    return (stream, peer, self.slot(permit));
                }
                Err(e) if is_of_one_connection(&e) => {}
                Err(e) => {
                    if told.take(Limit::per_minute(), clock::now().mono, 1) {
                        tracing::warn!(error = %e, "no connection can be accepted");
                    }
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        let connections = self.app.metrics.http.connections.clone();
        connections.inc();
        let open = Open {
            _permit: permit,
            connections,
        };
        Slot {
            _open: Arc::new(open),
        }
    }

    async fn connection(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        slot: Slot,
        shutdown: CancellationToken,
    ) {
        let http = self.app.settings().config.http.clone();
        let deadline = http.header_timeout;
        let beginning = self.begin(&mut stream, peer, &http);
        let Some(Some(peer)) = shutdown.run_until_cancelled(beginning).await else {
            return;
        };
        let service = Service {
            server: self.clone(),
            peer,
            slot,
        };
        // Settings are asked for each request: a connection may outlive them.
        let service = hyper::service::service_fn(move |request| {
            let settings = service.server.app.settings();
            settings.cors.layer(service.clone()).call(request)
        });
        let stream = Patience::new(stream, http.request_timeout);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(deadline)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = match shutdown.run_until_cancelled(connection.as_mut()).await {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP connection ended");
        }
    }

    /// Waits for a client's first byte. Gives the client's address: `peer`, unless that is a proxy
    /// which names another. Nothing where the connection leads nowhere.
    async fn begin(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        http: &config::Http,
    ) -> Option<SocketAddr> {
        let deadline = http.header_timeout;
        let mut client = peer;
        let on = self.is_public && http.proxy_protocol;
        if proxy_protocol::is_due(on, &http.trusted_proxies, peer.ip()) {
            match proxy_protocol::read(stream, deadline).await {
                Ok(named) => client = named.unwrap_or(peer),
                Err(error) => {
                    self.unannounced(peer, &error);
                    return None;
                }
            }
        }
        let first = timeout(deadline, stream.peek(&mut [0])).await;
        let begun = matches!(first, Ok(Ok(1))) && stream.set_nodelay(true).is_ok();
        begun.then_some(client)
    }

    /// Told seldom: a check that only connects does so every second.
    fn unannounced(&self, proxy: SocketAddr, error: &HeaderError) {
        self.app.metrics.http.unannounced.inc();
        let proxy = proxy.ip();
        match self
            .told_of_proxy
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
    slot: Slot,
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
        let Service { server, peer, slot } = self.clone();
        Box::pin(async move {
            let app = server.app.clone();
            let settings = app.settings();
            let http = &settings.config.http;
            let asker = Asker::new(peer.ip(), request.headers(), &http.trusted_proxies);
            let host = asker.host.as_deref();
            if !origin::allows(&http.allowed_origins, request.headers(), host) {
                let refused = Error::new(
                    StatusCode::FORBIDDEN,
                    "origin",
                    "This page may not call this server",
                );
                return Ok(refused.into_response());
            }
            let who = Who::default();
            let caller = Caller { asker, who, slot };
            Ok(server.router.answer(app, caller, request).await)
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
