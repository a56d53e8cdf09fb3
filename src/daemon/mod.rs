//! `parlor serve`: builds everything from a configuration, waits for a signal, takes it down.

mod certificate;
mod lobby;
mod logging;
mod manager;
mod refusal;
mod reload;
mod signals;
mod startup;

use std::io;
use std::mem;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Now};
use crate::config::{Loaded, Sources};
use crate::control;
use crate::credential::Refusals;
use crate::http::{self, App, Live, Settings};
use crate::metrics::Metrics;
use crate::relay::{self, Relay};
use crate::tls;
use crate::turn::External;

use reload::Reloader;
use startup::{Listeners, Prepared};

/// How long connections may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(10);

/// Runs the daemon until SIGINT or SIGTERM.
///
/// # Errors
/// One sentence that names what could not be had, where, and what to do.
pub fn run(sources: Sources, loaded: Loaded) -> anyhow::Result<()> {
    let level = logging::start(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let descriptors = relay::host::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let start = Start {
        started: clock::now(),
        sources,
        loaded,
        level,
        descriptors,
    };
    let outcome = runtime.block_on(serve(start));
    // A name that is still being looked up is nothing to wait for.
    runtime.shutdown_timeout(GOODBYE);
    outcome
}

async fn serve(start: Start) -> anyhow::Result<()> {
    // Before anything else is visible: a signal from now on ends it cleanly, or is heeded later.
    let mut signal = pin!(signals::shutdown()?);
    let hangups = signals::hangups()?;
    let config = &start.loaded.config;
    let prepared = Prepared::new(config)?;
    let listeners = Listeners::bind(config)?;
    startup::announce_descriptors(config, start.descriptors);
    let external = tokio::select! {
        external = startup::external(config) => external?,
        name = &mut signal => {
            tracing::info!(signal = name, "stopping before anything was served");
            return Ok(());
        }
    };
    let mut house = House::build(start, prepared, listeners, external).await?;
    let work = house.open(hangups).await?;
    tracing::info!("ready");
    manager::ready();
    let posting = manager::keep_posted(house.app.clone(), house.relay.collector());
    let posting = tokio::spawn(posting);

    let outcome = tokio::select! {
        name = signal => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
        (ended, _, _) = &mut house.relay.ended => Err(relay_failure(ended)),
    };
    manager::stopping();
    house.close(work).await;
    posting.abort();
    outcome
}

/// What a process begins with.
struct Start {
    started: Now,
    sources: Sources,
    loaded: Loaded,
    level: logging::Level,
    descriptors: u64,
}

/// Everything that runs, in one place.
struct House {
    app: Arc<App>,
    /// Holds the data directory, locked for as long as anything may write to it.
    reloader: Arc<Reloader>,
    relay: Relay,
    refusals: Arc<Refusals>,
    http: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
    /// Until it is served.
    desk: Option<(control::Listener, control::Live)>,
    stop: CancellationToken,
    first_start: bool,
}

/// The tasks that serve, and those that only run beside.
struct Work {
    serving: [JoinHandle<()>; 3],
    following: JoinHandle<()>,
    reloading: JoinHandle<()>,
    certifying: JoinHandle<()>,
}

impl House {
    async fn build(
        start: Start,
        prepared: Prepared,
        listeners: Listeners,
        external: Vec<External>,
    ) -> anyhow::Result<House> {
        let config = start.loaded.config;
        let data_dir = prepared.secrets.data_dir().path().to_owned();
        let desk = control::Listener::bind(&config.admin, &data_dir)?;
        let refusals = Arc::new(Refusals::default());
        refusal::recall(&prepared.store, &refusals).await?;
        let stop = CancellationToken::new();
        let turn = listeners.turn.addresses()?;
        let turn_tls = listeners.turn.tls_addresses()?;
        let certificate = certificate::at_start(&config, prepared.secrets.data_dir())?;
        let over_tls = certificate.clone();
        let over_tls = over_tls.map(|one| tls::server_config(one, &[tls::STUN_TURN]));
        let options = relay::Options {
            turn: &config.turn,
            external,
            credentials: prepared.credentials.clone(),
            nonces: prepared.nonces,
            refusals: refusals.clone(),
            other_listeners: listeners.http_addresses()?,
            tls: over_tls.transpose().context("TLS can't be spoken")?,
            trusted_proxies: &config.http.trusted_proxies,
            max_allocations: startup::max_allocations(&config, start.descriptors),
            seed: startup::seed()?,
        };
        let relay = Relay::start(listeners.turn, options, &stop)?;
        let metrics = Metrics::new();
        metrics.register(Box::new(relay.collector()));
        metrics.time_store(prepared.store.times());
        let hub = http::Hub::new(&config.signaling, &metrics);
        let settings = Settings::new(config, prepared.tokens, prepared.credentials);
        let app = App {
            hub,
            api: Default::default(),
            relay: relay.handle.clone(),
            metrics,
            turn,
            turn_tls,
            certificate: certificate.clone(),
            store: prepared.store,
            live: Live::new(settings),
        };
        let app = Arc::new(app);
        let reloader = Reloader::new(
            start.sources,
            start.loaded.file,
            app.clone(),
            prepared.secrets,
            certificate,
            start.level,
            start.descriptors,
        );
        let reloader = Arc::new(reloader);
        let reloading = reloader.clone();
        let live = control::Live {
            app: app.clone(),
            http: startup::addresses(&listeners.http)?,
            metrics: startup::addresses(&listeners.metrics)?,
            data_dir,
            socket: desk.path().to_owned(),
            started: start.started,
            reload: Arc::new(move || reloading.reload()),
        };
        Ok(House {
            app,
            reloader,
            desk: Some((desk, live)),
            relay,
            refusals,
            http: listeners.http,
            metrics: listeners.metrics,
            stop,
            first_start: prepared.first_start,
        })
    }

    /// Makes the Lobby where it is due, says where everything listens, and serves.
    async fn open(&mut self, hangups: Signal) -> anyhow::Result<Work> {
        let address = self.http[0].local_addr()?;
        lobby::open(&self.app, address, self.first_start).await?;
        let (turn, turn_tls) = (&self.app.turn, &self.app.turn_tls);
        startup::announce(&self.http, &self.metrics, turn, turn_tls)?;
        let (app, stop) = (&self.app, &self.stop);
        let (desk, live) = self.desk.take().context("the house is opened once")?;
        tracing::info!(path = %desk.path().display(), "commands are taken");
        let http = startup::to_tokio(mem::take(&mut self.http))?;
        let metrics = startup::to_tokio(mem::take(&mut self.metrics))?;
        Ok(Work {
            serving: [
                tokio::spawn(http::serve(app.clone(), http, stop.clone())),
                tokio::spawn(http::serve_metrics(app.clone(), metrics, stop.clone())),
                tokio::spawn(control::serve(desk, live, stop.clone())),
            ],
            following: tokio::spawn(refusal::follow(app.clone(), self.refusals.clone())),
            reloading: tokio::spawn(reload::at_each(hangups, self.reloader.clone())),
            certifying: tokio::spawn(certificate::keep(self.reloader.clone())),
        })
    }

    /// Says goodbye to everybody, then lets go of everything.
    async fn close(self, work: Work) {
        self.stop.cancel();
        work.following.abort();
        work.reloading.abort();
        work.certifying.abort();
        let goodbye = futures_util::future::join_all(work.serving);
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        self.relay.stop();
    }
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
