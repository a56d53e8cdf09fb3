//! `parlor serve`: builds everything from a configuration, waits for a signal, takes it down.

mod lobby;
mod logging;
mod signals;
mod startup;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::credential::Refusals;
use crate::http::{self, App};
use crate::relay::{self, Relay};
use crate::store::Store;

use startup::{Listeners, Prepared};

/// How long connections may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(10);

/// Runs the daemon until SIGINT or SIGTERM.
///
/// # Errors
/// One sentence that names what could not be had, where, and what to do.
pub fn run(config: Config) -> anyhow::Result<()> {
    logging::start(&config.log);
    let descriptors = relay::host::raise_descriptor_limit();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?
        .block_on(serve(config, descriptors))
}

async fn serve(config: Config, descriptors: u64) -> anyhow::Result<()> {
    // Before anything else is visible: a signal from now on ends it cleanly.
    let signal = signals::shutdown()?;
    let Prepared {
        data_dir,
        store,
        tokens,
        credentials,
        nonces,
        first_start,
    } = Prepared::new(&config)?;
    let listeners = Listeners::bind(&config)?;
    let refusals = Arc::new(Refusals::default());
    recall_refusals(&store, &config, &refusals).await?;

    let stop = CancellationToken::new();
    let turn = listeners.turn_addresses()?;
    let options = relay::Options {
        turn: &config.turn,
        external: relay::resolve_external(&config.turn.external_ip, &config.ice.stun_urls)
            .context("turn.external_ip")?,
        credentials: credentials.clone(),
        nonces,
        refusals: refusals.clone(),
        other_listeners: listeners.http_addresses()?,
        max_allocations: startup::max_allocations(&config, descriptors),
        seed: startup::seed()?,
    };
    let Listeners {
        http,
        metrics,
        turn: sockets,
    } = listeners;
    let mut relay = Relay::start(sockets, options, &stop)?;
    let figures = crate::metrics::Metrics::new();
    figures.register(Box::new(relay.collector()));
    let app = Arc::new(App {
        hub: http::Hub::new(&config.signaling, &figures),
        api: Default::default(),
        relay: relay.handle.clone(),
        metrics: figures,
        tokens,
        credentials,
        turn: turn.clone(),
        store: store.clone(),
        config,
    });
    let http_address = http[0].local_addr()?;
    lobby::open(&app, http_address, first_start).await?;
    startup::announce(&http, &metrics, &turn)?;

    let serving = tokio::spawn(http::serve(
        app.clone(),
        startup::to_tokio(http)?,
        stop.clone(),
    ));
    let scraping = startup::to_tokio(metrics)?;
    let scraping = tokio::spawn(http::serve_metrics(app.clone(), scraping, stop.clone()));
    let following = tokio::spawn(follow_changes(app.clone(), refusals));
    tracing::info!("ready");

    let outcome = tokio::select! {
        name = signal => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
        ended = &mut relay.ended => Err(relay_failure(ended)),
    };
    stop.cancel();
    following.abort();
    let goodbye = async { (serving.await, scraping.await) };
    if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    relay.stop();
    drop((app, store, data_dir));
    outcome
}

/// What is refused is in the store, so that a restart keeps it.
async fn recall_refusals(
    store: &Store,
    config: &Config,
    refusals: &Refusals,
) -> anyhow::Result<()> {
    // Credentials older than this have expired by themselves.
    let oldest = crate::clock::now()
        .unix
        .saturating_sub(config.turn.credential_ttl.as_secs());
    let refused = store.refused(oldest).await?;
    refusals.replace(refused.users, refused.memberships);
    Ok(())
}

/// Takes up what another process (a command of the CLI) wrote: whoever it disabled is refused.
async fn follow_changes(app: Arc<App>, refusals: Arc<Refusals>) {
    let mut changes = app.store.changes();
    while changes.changed().await.is_ok() {
        if let Err(error) = apply_changes(&app, &refusals).await {
            tracing::error!(%error, "what another process changed could not be read");
        }
    }
}

async fn apply_changes(app: &App, refusals: &Refusals) -> anyhow::Result<()> {
    let _undisturbed = app.api.undisturbed().await;
    let known = refusals.users();
    recall_refusals(&app.store, &app.config, refusals).await?;
    for user in refusals.users().difference(&known) {
        app.relay.removed(user);
    }
    Ok(())
}

fn relay_failure<E: std::error::Error + Send + Sync + 'static>(
    ended: Result<io::Result<()>, E>,
) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => anyhow::Error::new(error).context("the relay failed"),
        Ok(Ok(())) => anyhow::anyhow!("the relay ended by itself"),
        Err(error) => anyhow::Error::new(error).context("the relay panicked"),
    }
}
