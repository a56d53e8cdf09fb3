//! The admin socket of the server.

use std::fs;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::{AdminCommand, ServerCommand};
use super::context::{Context, ServerContext};
use super::drain;
use super::execute::execute;
use super::failure::Failure;
use super::framing::{self, FrameError, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use super::messages::{DirectoryId, Greeting, Outcome, ServerInfo};
use super::pending::PendingLimit;
use super::response::Response;
use super::socket::{self, SocketError};
use crate::clock;
use crate::config::Admin;
use crate::rate::{Limit, SharedGcra};

/// Maximum number of connections; further ones wait in the kernel. The limit for connections without a
/// request is lower ([`PendingLimit`]).
const MAX_CONNECTIONS: usize = 32;
/// Timeout for receiving a request and for sending a message.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for the response. A command that takes longer continues, but its result is not sent.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Delay before the next attempt if accept(2) fails.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The bound socket; dropping it removes the file.
#[derive(Debug)]
pub struct Listener {
    bound: StdListener,
    path: PathBuf,
    directory: DirectoryId,
}

impl Listener {
    /// Binds the configured socket. This process must hold the lock of the data directory.
    ///
    /// # Errors
    /// One sentence that names the path and what to do.
    pub fn bind(admin: &Admin, data_dir: &Path) -> Result<Listener, SocketError> {
        let path = socket::server_path(admin.socket.as_deref(), data_dir);
        let bound = socket::bind(&path)?;
        let directory = DirectoryId::of(data_dir).map_err(|reason| SocketError::Unusable {
            path: data_dir.to_owned(),
            reason,
        })?;
        Ok(Listener {
            bound,
            path,
            directory,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The next server replaces a socket that could not be removed.
        let _ = fs::remove_file(&self.path);
    }
}

/// State shared by all connections.
struct SocketServer {
    context: Context,
    info: ServerInfo,
    counters: OutcomeCounters,
    pending: PendingLimit,
    stop: CancellationToken,
}

/// One of [`MAX_CONNECTIONS`]; released when both the connection and its command have ended.
type ConnectionPermit = Arc<OwnedSemaphorePermit>;

struct OutcomeCounters {
    done: Counter,
    failed: Counter,
    refused: Counter,
}

/// Serves until `stop`, then waits for the commands that have begun.
pub async fn serve(listener: Listener, context: ServerContext, stop: CancellationToken) {
    let socket = match listener.bound.try_clone().and_then(UnixListener::from_std) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "admin socket failed");
            return;
        }
    };
    let server = Arc::new(SocketServer::new(&listener, context, stop.clone()));
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    let log_limit = SharedGcra::default();
    let next = async || {
        let permit = permits.clone().acquire_owned().await.ok()?;
        Some((accept(&socket, &log_limit).await, permit))
    };
    while let Some(Some((connection, permit))) = stop.run_until_cancelled(next()).await {
        tasks.spawn(
            server
                .clone()
                .handle_connection(connection, Arc::new(permit)),
        );
    }
    tasks.close();
    tasks.wait().await;
}

async fn accept(socket: &UnixListener, log_limit: &SharedGcra) -> UnixStream {
    loop {
        match socket.accept().await {
            Ok((connection, _)) => return connection,
            Err(error) => {
                if log_limit.take(Limit::per_minute(), clock::now().mono, 1) {
                    tracing::warn!(%error, "accept failed at the admin socket");
                }
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

impl SocketServer {
    fn new(listener: &Listener, context: ServerContext, stop: CancellationToken) -> SocketServer {
        SocketServer {
            info: ServerInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                process: std::process::id(),
                data_dir: context.data_dir.display().to_string(),
                directory: listener.directory,
            },
            counters: OutcomeCounters::new(&context),
            context: Context::Running(context),
            pending: PendingLimit::default(),
            stop,
        }
    }

    /// Handles one connection: greeting, command, outcome.
    async fn handle_connection(
        self: Arc<Self>,
        mut connection: UnixStream,
        permit: ConnectionPermit,
    ) {
        let pending = self.pending.register();
        let received = pending.evicted.run_until_cancelled(async {
            let uid = self.greet(&mut connection).await?;
            let request = framing::read::<AdminCommand>(&mut connection, MAX_REQUEST_BYTES);
            let request = timeout(IO_TIMEOUT, self.stop.run_until_cancelled(request)).await;
            Some((uid, request.ok().flatten()))
        });
        let received = received.await;
        drop(pending);
        let (uid, request) = match received {
            Some(Some((uid, Some(request)))) => (uid, request),
            // A client without permission has already received its error.
            Some(None) => return,
            Some(Some((_, None))) | None => {
                return tracing::debug!("no request at the admin socket in time");
            }
        };
        let drains = matches!(
            request,
            Ok(AdminCommand::Server(ServerCommand::Drain { .. }))
        );
        let outcome = match request {
            Ok(command) => self.clone().run(command, uid, permit.clone()).await,
            // The client has disconnected.
            Err(FrameError::Broken(_)) => return,
            Err(error) => {
                self.counters.failed.inc();
                let version = &self.info.version;
                Outcome::Failed(Failure::new(format!(
                    "the server (version {version}) rejected the request: {error}"
                )))
            }
        };
        let drains = drains && matches!(outcome, Outcome::Done(_));
        send(&mut connection, outcome).await;
        if let (true, Some(server)) = (drains, self.context.server()) {
            drain::stream_progress(connection, server.drain_progress.clone()).await;
        }
    }

    /// Sends the greeting and returns the client's user id, if that user may send commands.
    async fn greet(&self, connection: &mut UnixStream) -> Option<u32> {
        let uid = connection.peer_cred().ok()?.uid();
        let own = nix::unistd::geteuid().as_raw();
        let permitted = uid == 0 || uid == own;
        let greeting = if permitted {
            Greeting::Welcome(self.info.clone())
        } else {
            self.counters.refused.inc();
            tracing::warn!(uid, "admin command rejected: user has no permission");
            Greeting::Refused(format!(
                "the server accepts commands only from root and from its own user (id {own})"
            ))
        };
        let sent = framing::write(connection, &greeting, MAX_RESPONSE_BYTES);
        let sent = timeout(IO_TIMEOUT, sent).await;
        (permitted && matches!(sent, Ok(Ok(())))).then_some(uid)
    }

    /// Executes a command to its end, even if the client disconnects: connections and relays must
    /// follow a committed change. Holds the permit until then.
    async fn run(
        self: Arc<Self>,
        command: AdminCommand,
        uid: u32,
        permit: ConnectionPermit,
    ) -> Outcome {
        let work = tokio::spawn(async move {
            let name = command.name();
            let read_only = command.is_read_only();
            let result = execute(&self.context, command).await;
            self.log_result(&name, read_only, uid, &result);
            drop(permit);
            result
        });
        match timeout(COMMAND_TIMEOUT, work).await {
            Ok(Ok(Ok(response))) => Outcome::Done(response),
            Ok(Ok(Err(failure))) => Outcome::Failed(failure),
            Ok(Err(_)) => Outcome::Failed(Failure::new("the server failed: see its log")),
            Err(_) => Outcome::Failed(Failure::new(
                "the command is still running after a minute and continues: check its result later",
            )),
        }
    }

    fn log_result(
        &self,
        command: &str,
        read_only: bool,
        uid: u32,
        result: &Result<Response, Failure>,
    ) {
        match result {
            Ok(_) if read_only => tracing::debug!(command, uid, "admin command executed"),
            Ok(_) => tracing::info!(command, uid, "admin command executed"),
            Err(_) => tracing::info!(command, uid, "admin command failed"),
        }
        match result {
            Ok(_) => self.counters.done.inc(),
            Err(_) => self.counters.failed.inc(),
        };
    }
}

/// Sends the outcome; one that is too large for the socket is replaced by an error.
async fn send(connection: &mut UnixStream, outcome: Outcome) {
    let sent = framing::write(connection, &outcome, MAX_RESPONSE_BYTES);
    let sent = timeout(IO_TIMEOUT, sent).await;
    if let Ok(Err(error @ FrameError::TooLarge { .. })) = sent {
        let failure = Failure::new(format!("the response is too large: {error}"));
        let outcome = Outcome::Failed(failure);
        let sent = framing::write(connection, &outcome, MAX_RESPONSE_BYTES);
        let _ = timeout(IO_TIMEOUT, sent).await;
    }
}

impl OutcomeCounters {
    fn new(server: &ServerContext) -> OutcomeCounters {
        let outcomes = ["done", "failed", "rejected"];
        let help = "Commands at the admin socket; rejected: the user has no permission";
        let metrics = &server.app.metrics;
        let counters = metrics.counters("admin_commands", help, "outcome", outcomes);
        let counter = |nth: usize| counters.get(nth).cloned().unwrap_or_default();
        OutcomeCounters {
            done: counter(0),
            failed: counter(1),
            refused: counter(2),
        }
    }
}
