//! The end of the server: reasons, draining, closing, and handing over to the next process.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::{self, BoxFuture};
use tokio::time::Instant;

use crate::clock;

use super::drain;
use super::handover::{self, FdStore, Handover, State, Upgrade};
use super::reload::Reloader;
use super::server::{Request, Server, Tasks, check_upgrade};
use super::signals::{self, SignalStream, Signals};

/// Timeout for closing all connections.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for closing all connections when the next process serves clients at once.
const BRIEF_CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// How the server ends.
pub(super) enum Shutdown {
    /// Stop; connections have this time to close.
    Stop(Duration),
    Failure(anyhow::Error),
    /// Stop, and leave the sockets to the next process in the descriptor store.
    Keep(FdStore),
    /// Replace this process with another binary.
    Replace(Upgrade),
}

impl Server {
    /// Waits for a reason to stop, and drains first if one is requested.
    pub(super) async fn wait_for_shutdown(
        &mut self,
        signals: &mut Signals,
        upgrade_signals: &mut SignalStream,
    ) -> Shutdown {
        let upgrade = self.upgrade.clone();
        let mut checking: Option<BoxFuture<'_, bool>> = None;
        let limit = loop {
            let idle = checking.is_none();
            let checked = async {
                match &mut checking {
                    Some(check) => check.await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                name = signals.next() => match fd_store_for(name) {
                    Some(store) => return Shutdown::Keep(store),
                    None => break self.app.settings().config.server.drain_timeout,
                },
                Some(request) = self.requests.recv() => match request {
                    Request::Drain(limit) => break limit,
                    Request::Upgrade => return Shutdown::Replace(upgrade.clone()),
                },
                (ended, _, _) = &mut self.relay.ended => {
                    return Shutdown::Failure(relay_failure(ended));
                }
                fits = checked => if fits { return Shutdown::Replace(upgrade.clone()) } else { checking = None },
                // A second signal stays pending until this one has been handled.
                () = upgrade_signals.next(), if idle => {
                    checking = Some(Box::pin(passes_check(&upgrade, self.reloader.clone())));
                }
            }
        };
        self.drain(limit, signals).await
    }

    /// Rejects new users and lets calls finish, until none is left, `limit` is over, or a signal arrives.
    async fn drain(&mut self, limit: Duration, signals: &mut Signals) -> Shutdown {
        if limit.is_zero() {
            return Shutdown::Stop(CLOSE_TIMEOUT);
        }
        // Later requests are answered: the server is already shutting down.
        self.requests.close();
        let begin = Instant::now();
        let progress = &self.drain_progress;
        let ending = tokio::select! {
            drained = drain::run(&self.app, begin, limit, progress) => match drained {
                Ok(()) => Shutdown::Stop(CLOSE_TIMEOUT),
                Err(error) => Shutdown::Failure(error),
            },
            name = signals.next() => {
                tracing::info!("drain interrupted by a signal");
                fd_store_for(name).map_or(Shutdown::Stop(BRIEF_CLOSE_TIMEOUT), Shutdown::Keep)
            }
            (ended, _, _) = &mut self.relay.ended => Shutdown::Failure(relay_failure(ended)),
        };
        let interrupted = match &ending {
            // Relays continue in the next process.
            Shutdown::Keep(_) => 0,
            _ => self.app.relay.allocations() as u64,
        };
        drain::publish(&self.app, begin, Some(interrupted), progress);
        ending
    }

    /// Ends everything except the sockets, which the next process continues with. Connections are closed
    /// with a request to reconnect; this waits only briefly for them.
    pub(super) async fn hand_over(self, tasks: Tasks) -> anyhow::Result<Handover> {
        let settings = self.app.settings();
        let (rooms, mut sessions) = self.app.hub.restart(&settings.config.signaling);
        self.app.hub.wait_for_suspensions().await;
        let owned = rooms.into_iter().map(|(room, users)| {
            let users = users.iter().map(ToString::to_string);
            (room.to_string(), users.collect())
        });
        let rooms = owned.collect();
        self.stop.cancel();
        tasks.abort_background();
        // The relay still forwards media while connections close.
        let closed = future::join_all(tasks.servers);
        let _ = tokio::time::timeout(BRIEF_CLOSE_TIMEOUT, closed).await;
        let mut node = None;
        if let Some(cluster) = tasks.cluster
            && let Some(paused) = cluster.hand_over(&self.app.hub).await
        {
            node = Some(paused.0);
            sessions = paused.1;
        }
        let external = self
            .relay
            .handle
            .current_addresses()
            .external_ips
            .known()
            .to_vec();
        let stopped = self.relay.hand_over();
        let state = State {
            boot: handover::boot_id(),
            at: clock::now().mono,
            external,
            rooms,
            sessions,
            node,
            ..State::default()
        };
        let handover = Handover::new(state, stopped, self.tcp);
        let handover = handover.context("the state for the next process can't be written")?;
        let (allocations, left) = (handover.allocations, handover.dropped_sockets);
        if left > 0 {
            tracing::warn!(
                left,
                "some sockets were not handed over: a kernel buffer is full"
            );
        }
        tracing::info!(allocations, "handed over");
        Ok(handover)
    }

    /// Closes all connections within `close_timeout` or until a signal, then stops the relay.
    pub(super) async fn close(self, tasks: Tasks, close_timeout: Duration, signals: &mut Signals) {
        // Clients must not wait in the queue of a listener that nothing accepts from.
        drop(self.tcp);
        self.stop.cancel();
        tasks.abort_background();
        let closed = tokio::time::timeout(close_timeout, future::join_all(tasks.servers));
        let in_time = tokio::select! {
            closed = closed => closed.is_ok(),
            _ = signals.next() => false,
        };
        if !in_time {
            tracing::warn!("some connections did not close in time");
        }
        if let Some(cluster) = tasks.cluster {
            cluster.finish().await;
        }
        self.relay.stop();
    }
}

/// Returns the descriptor store for a hand-over after this signal, if the service manager has one.
fn fd_store_for(name: &'static str) -> Option<FdStore> {
    let store = FdStore::of_process().filter(|_| name == signals::SIGTERM_NAME);
    tracing::info!(signal = name, kept = store.is_some(), "stopping");
    store
}

/// Returns whether the upgrade passes its check; logs the errors.
async fn passes_check(upgrade: &Upgrade, reloader: Arc<Reloader>) -> bool {
    let binary = upgrade.clone();
    let checked = tokio::task::spawn_blocking(move || check_upgrade(&binary, &reloader)).await;
    let problems = match checked {
        Ok(Ok(())) => return true,
        Ok(Err(problems)) => problems,
        Err(error) => vec![error.to_string()],
    };
    let executable = upgrade.executable().display();
    for problem in problems {
        tracing::error!(%executable, problem, "upgrade rejected: the server continues unchanged");
    }
    false
}

fn relay_failure<E: std::error::Error + Send + Sync + 'static>(
    ended: Result<io::Result<()>, E>,
) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => anyhow::Error::new(error).context("the relay failed"),
        Ok(Ok(())) => anyhow::anyhow!("the relay stopped unexpectedly"),
        Err(error) => anyhow::Error::new(error).context("the relay panicked"),
    }
}
