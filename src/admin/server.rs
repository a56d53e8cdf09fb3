//! The daemon's side of the socket.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener as Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::Command;
use super::context::{Context, ServerContext};
use super::drain;
use super::failure::Failure;
use super::frame::{
    self, DirectoryId, FrameError, Greeting, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Outcome,
    ServerInfo,
};
use super::pending::PendingLimit;
use super::socket::{self, SocketError};
use crate::clock;
use crate::config::Admin;
use crate::rate::{Limit, SharedGcra};

/// Maximum number of connections; further ones wait in the kernel. The limit for silent connections is
/// lower ([`PendingLimit`]).
const MAX_CONNECTIONS: usize = 32;
/// For all of a request to come, and for all of a reply to be taken.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// For a command. One that takes longer goes on, but nobody is told how it ends.
const WORK: Duration = Duration::from_secs(60);
/// Before the next try, where the kernel gives no connection.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The bound socket; it is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    bound: Bound,
    path: PathBuf,
    directory: DirectoryId,
}

impl Listener {
    /// Listens where the configuration says. The data directory must be locked by this process.
    ///
    /// # Errors
    /// One sentence that names the path and what to do.
    pub fn bind(admin: &Admin, data_dir: &Path) -> Result<Listener, SocketError> {
        let path = socket::server_path(admin.socket.as_deref(), data_dir);
        let bound = socket::bind(&path)?;
        let directory = directory(data_dir).map_err(|why| SocketError::Unusable {
            path: data_dir.to_owned(),
            why,
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
        // Whoever comes next replaces what could not be removed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Which directory a path leads to.
pub fn directory(path: &Path) -> io::Result<DirectoryId> {
    let found = fs::metadata(path)?;
    Ok(DirectoryId {
        device: found.dev(),
        inode: found.ino(),
    })
}

/// What every connection needs.
struct SocketServer {
    context: Context,
    host: ServerInfo,
    counts: OutcomeCounters,
    silent: PendingLimit,
    stop: CancellationToken,
}

/// One of [`MAX_CONNECTIONS`]; free again when reply and command have ended.
type ConnectionPermit = Arc<OwnedSemaphorePermit>;

struct OutcomeCounters {
    done: Counter,
    failed: Counter,
    refused: Counter,
}

/// Serves until `stop`; what has begun by then is carried out.
pub async fn serve(listener: Listener, server: ServerContext, stop: CancellationToken) {
    let socket = match listener.bound.try_clone().and_then(UnixListener::from_std) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "the admin socket can't be served");
            return;
        }
    };
    let socket_server = Arc::new(SocketServer::new(&listener, server, stop.clone()));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    let log_limit = SharedGcra::default();
    let next = async || {
        let slot = slots.clone().acquire_owned().await.ok()?;
        Some((accept(&socket, &log_limit).await, slot))
    };
    while let Some(Some((connection, slot))) = stop.run_until_cancelled(next()).await {
        tasks.spawn(
            socket_server
                .clone()
                .handle_connection(connection, Arc::new(slot)),
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
                    tracing::warn!(%error, "no connection could be taken at the admin socket");
                }
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

impl SocketServer {
    fn new(listener: &Listener, server: ServerContext, stop: CancellationToken) -> SocketServer {
        let counts = OutcomeCounters::new(&server);
        SocketServer {
            host: ServerInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                process: std::process::id(),
                data_dir: server.data_dir.display().to_string(),
                directory: listener.directory,
            },
            context: Context::Running(server),
            counts,
            silent: PendingLimit::default(),
            stop,
        }
    }

    /// One connection: a greeting, a command, a reply.
    async fn handle_connection(
        self: Arc<Self>,
        mut connection: UnixStream,
        slot: ConnectionPermit,
    ) {
        let silent = self.silent.enter();
        let result = silent.evicted.run_until_cancelled(async {
            let user = self.greet(&mut connection).await?;
            let request = frame::read::<Command>(&mut connection, MAX_REQUEST_BYTES);
            let request = timeout(IO_TIMEOUT, self.stop.run_until_cancelled(request)).await;
            Some((user, request.ok().flatten()))
        });
        let result = result.await;
        drop(silent);
        let (user, request) = match result {
            Some(Some((user, Some(request)))) => (user, request),
            // A client without permission has already received its error.
            Some(None) => return,
            Some(Some((_, None))) | None => {
                return tracing::debug!("nothing was asked at the admin socket in time");
            }
        };
        let drains = matches!(request, Ok(Command::Drain { .. }));
        let reply = match request {
            Ok(command) => self.clone().execute(command, user, slot.clone()).await,
            // Whoever went away needs no reply.
            Err(FrameError::Broken(_)) => return,
            Err(error) => {
                self.counts.failed.inc();
                let version = &self.host.version;
                Outcome::Failed(Failure::new(format!(
                    "the running parlor (version {version}) does not take the request: {error}"
                )))
            }
        };
        let drains = drains && matches!(reply, Outcome::Done(_));
        send(&mut connection, reply).await;
        if let (true, Some(server)) = (drains, self.context.server()) {
            drain::stream_progress(connection, server.drain_progress.clone()).await;
        }
    }

    /// Says who is here to whom it concerns, and gives the user id of who asks.
    async fn greet(&self, connection: &mut UnixStream) -> Option<u32> {
        let user = connection.peer_cred().ok()?.uid();
        let own = nix::unistd::geteuid().as_raw();
        let known = user == 0 || user == own;
        let greeting = match known {
            true => Greeting::Welcome(self.host.clone()),
            false => {
                self.counts.refused.inc();
                tracing::warn!(
                    uid = user,
                    "somebody else's user was refused at the admin socket"
                );
                Greeting::Refused(format!(
                    "the running parlor takes commands from root and from its own user (id {own}) alone"
                ))
            }
        };
        let greeted = timeout(
            IO_TIMEOUT,
            frame::write(connection, &greeting, MAX_RESPONSE_BYTES),
        )
        .await;
        (known && matches!(greeted, Ok(Ok(())))).then_some(user)
    }

    /// Runs to its end even where whoever asked is gone: what was committed has to be told to
    /// connections and relays. The slot is kept until then.
    async fn execute(
        self: Arc<Self>,
        command: Command,
        user: u32,
        slot: ConnectionPermit,
    ) -> Outcome {
        let work = tokio::spawn(async move {
            let name = command.name();
            let looks = command.is_read_only();
            let outcome = super::execute(&self.context, command).await;
            self.log_outcome(name, looks, user, &outcome);
            drop(slot);
            outcome
        });
        match timeout(WORK, work).await {
            Ok(Ok(Ok(response))) => Outcome::Done(response),
            Ok(Ok(Err(failure))) => Outcome::Failed(failure),
            Ok(Err(_)) => Outcome::Failed(Failure::new(
                "the running parlor failed at the command: its log says why",
            )),
            Err(_) => Outcome::Failed(Failure::new(
                "the running parlor is at the command for a minute, and goes on: \
                 look later what became of it",
            )),
        }
    }

    fn log_outcome(
        &self,
        command: &'static str,
        looks: bool,
        user: u32,
        outcome: &Result<super::Response, Failure>,
    ) {
        match outcome {
            Ok(_) if looks => tracing::debug!(command, uid = user, "a command was carried out"),
            Ok(_) => tracing::info!(command, uid = user, "a command was carried out"),
            Err(_) => tracing::info!(command, uid = user, "a command was refused"),
        }
        match outcome {
            Ok(_) => self.counts.done.inc(),
            Err(_) => self.counts.failed.inc(),
        };
    }
}

/// A reply that is too large for the socket is told as such.
async fn send(connection: &mut UnixStream, reply: Outcome) {
    let sent = timeout(
        IO_TIMEOUT,
        frame::write(connection, &reply, MAX_RESPONSE_BYTES),
    )
    .await;
    if let Ok(Err(error @ FrameError::TooLarge { .. })) = sent {
        let reply = Outcome::Failed(Failure::new(format!("the answer is too large: {error}")));
        let _ = timeout(
            IO_TIMEOUT,
            frame::write(connection, &reply, MAX_RESPONSE_BYTES),
        )
        .await;
    }
}

impl OutcomeCounters {
    fn new(server: &ServerContext) -> OutcomeCounters {
        let outcomes = ["done", "failed", "refused"];
        let help = "Commands at the admin socket; refused are those of users who may not ask";
        let counters = server
            .app
            .metrics
            .counters("admin_commands", help, "outcome", outcomes);
        let counter = |nth: usize| counters.get(nth).cloned().unwrap_or_default();
        OutcomeCounters {
            done: counter(0),
            failed: counter(1),
            refused: counter(2),
        }
    }
}
