//! The accept loop of a listener, and the steps of a connection up to its delivery.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

use super::accepted::{Accepted, Classified};
use super::limits::{ACCEPT_BACKOFF, Limits};
use super::mux::{self, ListenerMode};
use super::permits::ConnectionAdmission;
use super::proxy_protocol;
use super::reject::{AcceptError, RejectReason};
use crate::clock;
use crate::rate::{Limit, SharedGcra};

/// Numbers the connections of this process, for the log.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// The receiver of accepted connections: HTTP or TURN.
pub trait Service: Send + Sync + 'static {
    type Admission: ConnectionAdmission;

    /// The name in log events.
    const NAME: &'static str;

    fn admission(&self) -> &Self::Admission;

    /// The current limits.
    fn limits(&self) -> Arc<Limits>;

    /// Counts a rejected connection.
    fn count_rejected(&self, reason: RejectReason);

    /// The limiter of warnings about trusted proxies without a PROXY header.
    fn proxy_warnings(&self) -> &SharedGcra;

    /// Serves a connection until it ends, or `stop` is cancelled.
    fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        permit: <Self::Admission as ConnectionAdmission>::Permit,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

type Permit<S> = <<S as Service>::Admission as ConnectionAdmission>::Permit;

/// Accepts connections for `service` until `stop` is cancelled. The tasks of connections run on `tasks`.
pub async fn run<S: Service>(
    listener: TcpListener,
    mode: ListenerMode,
    service: Arc<S>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let warnings = SharedGcra::default();
    while let Some((connection, span)) = stop
        .run_until_cancelled(admit_next(&listener, &service, &warnings))
        .await
    {
        let peer = connection.peer.ip();
        if mode.is_immediate() && !service.limits().expects_proxy_header(peer) {
            // Nothing to wait for: no task.
            connection.establish(&mode, &stop).instrument(span).await;
        } else {
            let (mode, stop) = (mode.clone(), stop.clone());
            tasks.spawn(async move { connection.run(&mode, &stop).await }.instrument(span));
        }
    }
}

/// Waits for a connection and its permit. The span belongs to the connection until its end.
async fn admit_next<S: Service>(
    listener: &TcpListener,
    service: &Arc<S>,
    warnings: &SharedGcra,
) -> (Connection<S>, Span) {
    loop {
        let (socket, peer) = accept(listener, S::NAME, warnings).await;
        let number = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
        // The field has the name that it has in events. `client` is the address in a PROXY header.
        let span = tracing::debug_span!(
            "connection",
            connection = number,
            service = S::NAME,
            %peer,
            client = Empty
        );
        match admit(&**service, peer).await {
            Ok(permit) => {
                let connection = Connection {
                    service: service.clone(),
                    socket,
                    peer,
                    number,
                    permit,
                };
                return (connection, span);
            }
            Err(reason) => span.in_scope(|| reject(&**service, number, peer, &reason.into())),
        }
    }
}

async fn admit<S: Service>(service: &S, peer: SocketAddr) -> Result<Permit<S>, RejectReason> {
    loop {
        let admitted = service.admission().admit(peer.ip(), &service.limits())?;
        if let Some(permit) = admitted {
            return Ok(permit);
        }
        service.admission().released().await;
    }
}

/// Accepts a connection. While the process has no free descriptor, clients wait in the kernel's backlog.
async fn accept(
    listener: &TcpListener,
    service: &'static str,
    warnings: &SharedGcra,
) -> (TcpStream, SocketAddr) {
    loop {
        let error = match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => error,
        };
        if warnings.take(Limit::per_minute(), clock::now().mono, 1) {
            tracing::warn!(service, %error, "connections cannot be accepted");
        }
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
}

/// Errors of accept(2) that concern no later connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Counts and logs a connection that is not delivered. Call it in the span of the connection, which
/// names the client.
pub fn reject<S: Service>(service: &S, connection: u64, client: SocketAddr, error: &AcceptError) {
    if let Some(reason) = error.reason() {
        service.count_rejected(reason);
    }
    let AcceptError::ProxyHeader(error) = error else {
        tracing::debug!(service = S::NAME, %error, "connection rejected");
        return;
    };
    let (service_name, proxy) = (S::NAME, client.ip());
    let message = "trusted proxy sent no valid PROXY header";
    // Rate-limited: TCP health checks connect every second without a header.
    let now = clock::now().mono;
    if service.proxy_warnings().take(Limit::per_minute(), now, 1) {
        tracing::warn!(connection, service = service_name, %proxy, %error, "{message}");
    } else {
        tracing::debug!(%error, "{message}");
    }
}

/// A connection that is not yet delivered.
struct Connection<S: Service> {
    service: Arc<S>,
    socket: TcpStream,
    peer: SocketAddr,
    number: u64,
    permit: Permit<S>,
}

impl<S: Service> Connection<S> {
    /// Establishes and serves the connection unless it is evicted.
    async fn run(mut self, mode: &ListenerMode, stop: &CancellationToken) {
        let (service, number, peer) = (self.service.clone(), self.number, self.peer);
        let evicted = service.admission().evicted(&mut self.permit);
        tokio::select! {
            () = self.establish(mode, stop) => {}
            () = evicted => reject(&*service, number, peer, &RejectReason::Evicted.into()),
        }
    }

    /// Establishes the connection and serves it.
    async fn establish(mut self, mode: &ListenerMode, stop: &CancellationToken) {
        let classifying = classify(
            &*self.service,
            self.socket,
            self.peer,
            &mut self.permit,
            mode,
        );
        let (client, classified) = match stop.run_until_cancelled(classifying).await {
            None => return,
            Some((client, classified)) => (client, classified),
        };
        match classified {
            Ok(Some((protocol, stream))) => {
                self.service.admission().classified(&mut self.permit);
                let accepted = Accepted {
                    number: self.number,
                    client,
                    protocol,
                    stream,
                };
                let serving = self.service.serve(accepted, self.permit, stop.clone());
                // Boxed: a silent connection does not allocate memory for later states.
                Box::pin(serving).await;
            }
            Ok(None) => tracing::debug!("ACME tls-alpn-01 validation served"),
            Err(error) => reject(&*self.service, self.number, client, &error),
        }
    }
}

/// Takes a connection through its steps. Returns its client, as far as known, and the outcome.
async fn classify<S: Service>(
    service: &S,
    mut socket: TcpStream,
    peer: SocketAddr,
    permit: &mut Permit<S>,
    mode: &ListenerMode,
) -> (SocketAddr, Result<Option<Classified>, AcceptError>) {
    let limits = service.limits();
    let mut client = peer;
    if limits.expects_proxy_header(peer.ip()) {
        match proxy_protocol::read(&mut socket, limits.step_timeout).await {
            Ok(Some(named)) => {
                client = named;
                Span::current().record("client", display(client));
            }
            Ok(None) => {}
            Err(error) => return (peer, Err(AcceptError::ProxyHeader(error))),
        }
    }
    // Before the TLS handshake, which costs the most.
    let admission = service.admission();
    if let Err(reason) = admission.assign(permit, peer.ip(), client.ip(), &limits) {
        return (client, Err(reason.into()));
    }
    let classified = mux::classify(socket, mode, limits.step_timeout).await;
    (client, classified)
}
