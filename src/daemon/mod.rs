//! `parlor serve`: builds the server from a configuration, runs it until a signal, and stops it.

mod about;
mod certificate;
mod clock_step;
mod cluster;
mod default_room;
mod drain;
mod handover;
mod logging;
mod notify;
mod reload;
mod secrets;
mod server;
mod shutdown;
mod signals;
mod startup;
mod systemd;

use std::mem;
use std::time::Duration;

use anyhow::Context as _;

use crate::clock;
use crate::config::{Loaded, Sources};
use crate::relay;

use handover::{FdStore, Inherited, Upgrade};
use server::{Server, Start};
use shutdown::{CLOSE_TIMEOUT, Shutdown};
use signals::{SignalStream, Signals};
use startup::{Listeners, Prepared};

/// Timeouts for the log's reader: before a process that is replaced hands over its calls, and a short
/// one during the hand-over and at the end of the start.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
const BRIEF_FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs the server until SIGINT or SIGTERM. Prints how to enter a room: a new invite link on the first
/// start or if `invite` is set.
///
/// # Errors
/// One sentence that names the failed resource and what to do.
pub fn run(sources: Sources, loaded: Loaded, invite: bool) -> anyhow::Result<()> {
    signals::block().context("signals can't be blocked")?;
    let started = logging::start(&loaded.config.log);
    let (logging, level) = started.context("the log can't be written to standard error")?;
    for remark in &loaded.remarks {
        logging.lines.push(format!("{remark}\n").as_bytes());
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let inherited = handover::take();
    let upgrade = Upgrade::of_process().context("the path of this binary is unknown")?;
    let descriptors = relay::descriptor_limit::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    let start = Start {
        started: clock::now(),
        invite,
        sources,
        loaded,
        lines: logging.lines.clone(),
        level,
        descriptors,
        upgrade,
    };
    let outcome = runtime.block_on(serve(start, inherited));
    // Does not wait for blocking tasks, such as a DNS query or a password hash.
    runtime.shutdown_background();
    outcome
}

async fn serve(start: Start, mut inherited: Inherited) -> anyhow::Result<()> {
    // Each signal stays pending until it is awaited.
    let mut signals = Signals::subscribe()?;
    let reload_signals = SignalStream::reload_signals()?;
    let mut upgrade_signals = SignalStream::upgrade_signals()?;
    let lines = start.lines.clone();
    let config = &start.loaded.config;
    // With restored calls, a signal is handled later: the calls must be handed over or drained.
    let may_stop = !inherited.has_state;
    let node = inherited.node.take();
    let prepared = tokio::select! {
        prepared = Prepared::new(config, node) => prepared?,
        name = signals.next(), if may_stop => {
            log_early_stop(name);
            return Ok(());
        }
    };
    let listeners = Listeners::bind(config, &mut inherited.sockets)?;
    startup::log_descriptor_limit(config, start.descriptors);
    let known = mem::take(&mut inherited.external);
    let names = tokio::select! {
        names = startup::resolve_external_ip(config, known) => names?,
        name = signals.next(), if may_stop => {
            log_early_stop(name);
            return Ok(());
        }
    };
    let mut server = Server::build(start, prepared, listeners, names, &mut inherited).await?;
    let (tasks, join_hint) = server.open(reload_signals).await?;
    drop(inherited);
    if let Some(store) = FdStore::of_process()
        && let Err(error) = store.clear()
    {
        tracing::warn!(%error, "descriptor store could not be cleared");
    }
    tracing::info!("ready");
    systemd::ready();
    // Printed after the log lines.
    lines.flush(BRIEF_FLUSH_TIMEOUT);
    default_room::print(join_hint.line);
    let status = systemd::report_status(server.app.clone(), server.relay.collector());
    let status = tokio::spawn(status);
    let shutdown = server
        .wait_for_shutdown(&mut signals, &mut upgrade_signals)
        .await;
    status.abort();
    if !matches!(shutdown, Shutdown::Replace(_)) {
        systemd::stopping();
    }
    match shutdown {
        Shutdown::Stop(close_timeout) => server.close(tasks, close_timeout, &mut signals).await,
        Shutdown::Failure(error) => {
            server.close(tasks, CLOSE_TIMEOUT, &mut signals).await;
            return Err(error);
        }
        Shutdown::Keep(store) => server.hand_over(tasks).await.and_then(|handover| {
            let left = store.store(&handover);
            let left = left.context("the service manager rejected the descriptors")?;
            if left > 0 {
                tracing::warn!(
                    left,
                    "descriptor store is full: raise FileDescriptorStoreMax="
                );
            }
            Ok(())
        })?,
        Shutdown::Replace(upgrade) => {
            lines.flush(FLUSH_TIMEOUT);
            let handover = server.hand_over(tasks).await?;
            lines.flush(BRIEF_FLUSH_TIMEOUT);
            let error = upgrade.execute(&handover);
            if let Some(store) = FdStore::of_process() {
                store.store(&handover)?;
            }
            let path = upgrade.executable().display();
            return Err(anyhow::Error::new(error).context(format!("{path} could not be executed")));
        }
    }
    Ok(())
}

fn log_early_stop(signal: &'static str) {
    tracing::info!(signal, "stopping before the server was ready");
}
