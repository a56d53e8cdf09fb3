//! The HTTP service: receives the connections of its listeners from [`crate::ingress`].

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Timeouts};
use super::request_service::{RequestService, Shared};
use super::router::Router;
use super::state::State;
use super::ws::accept_tunnels;
use crate::config;
use crate::ingress::limits::MAX_METRICS_CONNECTIONS;
use crate::ingress::{
    self, Accepted, ConnectionLimit, ConnectionPermit, Limits, ListenerMode, Protocol, RejectReason,
};
use crate::rate::SharedGcra;

/// The public listeners.
pub struct Listeners {
    /// `http.listen`.
    pub main: Vec<TcpListener>,
    /// The TLS settings of `http.listen`; `None` without TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// `http.plain_listen`.
    pub plain: Vec<TcpListener>,
}

/// Serves the public routes until `shutdown`, then closes the WebSockets and waits for running requests.
pub async fn serve(state: Arc<State>, listeners: Listeners, shutdown: CancellationToken) {
    let app = &state.app;
    let (hub, max_connections) = (app.hub.clone(), app.settings().config.http.max_connections);
    let port = listeners.main.first().and_then(|one| one.local_addr().ok());
    let state_of_tunnels = state.clone();
    let server = Server::new(
        state,
        Router::public(),
        port.map_or(443, |one| one.port()),
        max_connections,
        Limits::http,
    );
    let mode = match listeners.tls {
        Some(tls) => ListenerMode::HttpsAndTurn(tls),
        None => ListenerMode::HttpAndTurn,
    };
    let main = listeners.main.into_iter().map(|one| (one, mode.clone()));
    let plain = listeners.plain.into_iter();
    let plain = plain.map(|listener| (listener, ListenerMode::RedirectAndTurn));
    let tunnels = accept_tunnels(state_of_tunnels, shutdown.clone());
    let serving = server.run(main.chain(plain).collect(), shutdown.clone());
    let closing = async {
        shutdown.cancelled().await;
        hub.shutdown();
    };
    tokio::join!(serving, closing, tunnels);
    hub.wait_for_connections().await;
}

/// Serves the metrics routes until `shutdown`.
pub async fn serve_metrics(
    state: Arc<State>,
    listeners: Vec<TcpListener>,
    shutdown: CancellationToken,
) {
    let listeners = listeners.into_iter().map(|one| (one, ListenerMode::Http));
    Server::new(
        state,
        Router::metrics(),
        0,
        MAX_METRICS_CONNECTIONS,
        Limits::metrics,
    )
    .run(listeners.collect(), shutdown)
    .await;
}

/// Listeners with the same routes and limits.
struct Server {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    connection_limit: Arc<ConnectionLimit>,
    limits: fn(&config::Http) -> Limits,
    proxy_warnings: SharedGcra,
}

impl Server {
    fn new(
        state: Arc<State>,
        router: Router,
        https_port: u16,
        max_connections: usize,
        limits: fn(&config::Http) -> Limits,
    ) -> Server {
        let open = state.app.metrics.http.connections.clone();
        Server {
            shared: Arc::new(Shared {
                state,
                router,
                https_port,
            }),
            tasks: TaskTracker::new(),
            connection_limit: ConnectionLimit::new(max_connections, open),
            limits,
            proxy_warnings: SharedGcra::default(),
        }
    }

    async fn run(self, listeners: Vec<(TcpListener, ListenerMode)>, shutdown: CancellationToken) {
        let server = Arc::new(self);
        for (listener, mode) in listeners {
            let (server, tasks) = (server.clone(), server.tasks.clone());
            let accepting = ingress::run(listener, mode, server.clone(), tasks, shutdown.clone());
            server.tasks.spawn(accepting);
        }
        server.tasks.close();
        server.tasks.wait().await;
    }
}

impl ingress::Service for Server {
    type Admission = Arc<ConnectionLimit>;

    const NAME: &'static str = "http";

    fn admission(&self) -> &Arc<ConnectionLimit> {
        &self.connection_limit
    }

    fn limits(&self) -> Arc<Limits> {
        Arc::new((self.limits)(&self.shared.state.app.settings().config.http))
    }

    fn count_rejected(&self, reason: RejectReason) {
        let metrics = &self.shared.state.app.metrics.http;
        match reason {
            RejectReason::TotalLimit => metrics.closed_at_limit("all"),
            RejectReason::SourceLimit => metrics.closed_at_limit("address"),
            RejectReason::Evicted => metrics.closed_at_limit("evicted"),
            RejectReason::ProxyHeader => {
                metrics.missing_proxy_headers.inc();
            }
            RejectReason::Handshake => {
                metrics.tls_handshake_errors.inc();
            }
        }
    }

    fn proxy_warnings(&self) -> &SharedGcra {
        &self.proxy_warnings
    }

    async fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        permit: ConnectionPermit,
        shutdown: CancellationToken,
    ) {
        if accepted.protocol == Protocol::Turn {
            // From now on it counts for the limits of TURN.
            return self.shared.state.app.relay.serve_stream(accepted);
        }
        let timeouts = Timeouts::new(&self.shared.state.app.settings().config.http);
        let service = RequestService::new(self.shared.clone(), &accepted, permit);
        connection::serve(accepted, service, timeouts, &self.tasks, &shutdown).await;
    }
}
