//! `parlor serve`: builds everything from a configuration, waits for a signal, takes it down.

mod certificate;
mod clock_step;
mod drain;
mod handover;
mod lobby;
mod logging;
mod manager;
mod notify;
mod refusal;
mod reload;
mod signals;
mod startup;

use std::io;
use std::mem;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::{self, BoxFuture};
use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::clock::{self, Now};
use crate::config::{Loaded, Sources};
use crate::credential::Refusals;
use crate::http::{self, App, Live, Settings};
use crate::metrics::Metrics;
use crate::relay::{self, Relay};
use crate::tls;

use handover::{Handover, Inherited, State, Store, Upgrade};
use lobby::WayIn;
use reload::Reloader;
use signals::{Caught, Signals};
use startup::{Listeners, Prepared};

/// How long connections may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(10);

/// The same where the next process serves them right away.
const BRIEF_GOODBYE: Duration = Duration::from_millis(250);

/// Timeouts for the log's reader: in a process that is about to be replaced, before it hands over its
/// calls; and a short one during the hand-over and at the end of a start.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
const BRIEF_FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs the daemon until SIGINT or SIGTERM. Prints how to enter a room: a fresh link on the first start
/// or if `invite` is set.
///
/// # Errors
/// One sentence that names what could not be had, where, and what to do.
pub fn run(sources: Sources, loaded: Loaded, invite: bool) -> anyhow::Result<()> {
    signals::block().context("signals can't be blocked")?;
    let started = logging::start(&loaded.config.log);
    let (logging, level) = started.context("standard error can't be used for the log")?;
    for remark in &loaded.remarks {
        logging.lines.push(format!("{remark}\n").as_bytes());
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let inherited = handover::take();
    let upgrade = Upgrade::of_process().context("this process does not know its own binary")?;
    let descriptors = relay::host::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
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
    // Whatever still blocks (a name that is looked up, a password's hash) is nothing to wait for.
    runtime.shutdown_background();
    outcome
}

async fn serve(start: Start, mut inherited: Inherited) -> anyhow::Result<()> {
    // Each signal stays pending until it is awaited.
    let mut signals = Signals::caught()?;
    let hangups = Caught::hangups()?;
    let mut upgrades = Caught::upgrades()?;
    let lines = start.lines.clone();
    let config = &start.loaded.config;
    let prepared = Prepared::new(config)?;
    let listeners = Listeners::bind(config, &mut inherited.sockets)?;
    startup::announce_descriptors(config, start.descriptors);
    let known = mem::take(&mut inherited.external);
    let names = tokio::select! {
        names = startup::names(config, known) => names?,
        // Restored calls must be handed on, or end like a drain.
        name = signals.next(), if !inherited.has_state => {
            tracing::info!(signal = name, "stopping before anything was served");
            return Ok(());
        }
    };
    let mut house = House::build(start, prepared, listeners, names, &mut inherited).await?;
    let (work, way_in) = house.open(hangups).await?;
    drop(inherited);
    if let Some(store) = Store::of_process()
        && let Err(error) = store.forget()
    {
        tracing::warn!(%error, "the service manager does not take what it is told");
    }
    tracing::info!("ready");
    manager::ready();
    // After the log lines.
    lines.flush(BRIEF_FLUSH_TIMEOUT);
    lobby::print(way_in.line);
    let posting = manager::keep_posted(house.app.clone(), house.relay.collector());
    let posting = tokio::spawn(posting);
    let ending = house.until_the_end(&mut signals, &mut upgrades).await;
    posting.abort();
    if !matches!(ending, Ending::Replace(_)) {
        manager::stopping();
    }
    match ending {
        Ending::Stop(goodbye) => house.close(work, goodbye, &mut signals).await,
        Ending::Failure(error) => {
            house.close(work, GOODBYE, &mut signals).await;
            return Err(error);
        }
        Ending::Keep(store) => house.hand_over(work).await.and_then(|handover| {
            let left = store.keep(&handover);
            let left = left.context("the service manager does not keep what it was sent")?;
            if left > 0 {
                tracing::warn!(
                    left,
                    "the descriptor store has no room for all sockets: raise FileDescriptorStoreMax="
                );
            }
            Ok(())
        })?,
        Ending::Replace(upgrade) => {
            lines.flush(FLUSH_TIMEOUT);
            let handover = house.hand_over(work).await?;
            lines.flush(BRIEF_FLUSH_TIMEOUT);
            let error = upgrade.execute(&handover);
            if let Some(store) = Store::of_process() {
                store.keep(&handover)?;
            }
            let path = upgrade.executable().display();
            return Err(anyhow::Error::new(error).context(format!("{path} could not go on")));
        }
    }
    Ok(())
}

/// How a daemon ends.
enum Ending {
    /// Connections have so long to say goodbye.
    Stop(Duration),
    Failure(anyhow::Error),
    /// The next process is started with what the store keeps.
    Keep(Store),
    /// Another binary goes on in this process.
    Replace(Upgrade),
}

/// What commands ask for.
enum Order {
    /// Within so long.
    Drain(Duration),
    /// To whatever program lies at this one's path; it can be started with this configuration.
    Upgrade,
}

/// What a process begins with.
struct Start {
    started: Now,
    /// Whether to print a link.
    invite: bool,
    sources: Sources,
    loaded: Loaded,
    lines: logging::Queue,
    level: logging::Level,
    descriptors: u64,
    upgrade: Upgrade,
}

/// Everything that runs, in one place.
struct House {
    started: Now,
    app: Arc<App>,
    /// Holds the data directory, locked for as long as anything may write to it.
    reloader: Arc<Reloader>,
    relay: Relay,
    refusals: Arc<Refusals>,
    http: Vec<TcpListener>,
    plain: Vec<TcpListener>,
    /// What is spoken at `http`, where that is TLS.
    https: Option<Arc<ServerConfig>>,
    metrics: Vec<TcpListener>,
    /// All that listen, for the next process.
    tcp: Vec<(&'static str, TcpListener)>,
    upgrade: Upgrade,
    orders: mpsc::Receiver<Order>,
    drain_progress: watch::Sender<Option<admin::DrainProgress>>,
    /// Until it is served.
    desk: Option<(admin::Listener, admin::Live)>,
    stop: CancellationToken,
    first_start: bool,
    invite: bool,
}

/// The tasks that serve, and those that only run beside.
struct Work {
    serving: [JoinHandle<()>; 3],
    following: JoinHandle<()>,
    following_clock: JoinHandle<()>,
    reloading: JoinHandle<()>,
    certifying: JoinHandle<()>,
}

impl Work {
    fn end_what_runs_beside(&self) {
        self.following.abort();
        self.following_clock.abort();
        self.reloading.abort();
        self.certifying.abort();
    }
}

impl House {
    async fn build(
        start: Start,
        prepared: Prepared,
        listeners: Listeners,
        names: relay::Names,
        inherited: &mut Inherited,
    ) -> anyhow::Result<House> {
        let config = start.loaded.config;
        let tcp = listeners.tcp().context("a listener can't be kept")?;
        let data_dir = prepared.secrets.data_dir().path().to_owned();
        let desk = admin::Listener::bind(&config.admin, &data_dir)?;
        let refusals = Arc::new(Refusals::default());
        refusal::recall(&prepared.store, &refusals).await?;
        let stop = CancellationToken::new();
        let turn = listeners.turn.addresses()?;
        let turn_tls = listeners.turn.tls_addresses()?;
        let certificate = certificate::at_start(&config, prepared.secrets.data_dir())?;
        let over_tls = |protocols: &[&[u8]]| {
            let current = certificate.clone();
            let config = current.map(|one| tls::server_config(one, protocols));
            config.transpose().context("TLS can't be spoken")
        };
        let https = over_tls(&[tls::HTTP_2, tls::HTTP_1, tls::STUN_TURN])?;
        let options = relay::Options {
            turn: &config.turn,
            names,
            credentials: prepared.credentials.clone(),
            nonces: prepared.nonces,
            refusals: refusals.clone(),
            other_listeners: listeners.http_addresses()?,
            stun_urls: &config.ice.stun_urls,
            tls: over_tls(&[tls::STUN_TURN])?,
            trusted_proxies: &config.http.trusted_proxies,
            max_allocations: startup::max_allocations(&config, start.descriptors),
            seed: startup::seed()?,
        };
        let relay = Relay::start(listeners.turn, &mut inherited.sockets, options, &stop)?;
        let metrics = Metrics::new();
        metrics.register(Box::new(relay.collector()));
        metrics.time_store(prepared.store.times());
        metrics.count_dropped_log_lines(start.lines.dropped());
        let hub = http::Hub::new(&config.signaling, &metrics);
        let rooms = mem::take(&mut inherited.rooms).into_iter();
        let shared = |(room, users): (String, Vec<String>)| {
            let users = users.into_iter().map(Arc::from);
            (Arc::from(room), users.collect())
        };
        hub.expect(rooms.map(shared).collect());
        let settings = Settings::new(config, prepared.tokens, prepared.credentials);
        let app = App {
            hub,
            api: Default::default(),
            relay: relay.handle.clone(),
            metrics,
            turn,
            turn_tls,
            https: match https.is_some() {
                true => startup::addresses(&listeners.http)?,
                false => Vec::new(),
            },
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
        let (order, orders) = mpsc::channel(1);
        let (drain_progress, following_drain) = watch::channel(None);
        let (drained, upgraded, upgrade) = (order.clone(), order, start.upgrade.clone());
        let live = admin::Live {
            app: app.clone(),
            http: startup::addresses(&listeners.http)?,
            metrics: startup::addresses(&listeners.metrics)?,
            data_dir,
            socket: desk.path().to_owned(),
            started: start.started,
            reload: Arc::new(move || reloading.reload()),
            drain: Arc::new(move |span| drained.try_send(Order::Drain(span)).is_ok()),
            drain_progress: following_drain,
            upgrade: Arc::new(move || {
                upgrade.check()?;
                let taken = upgraded.try_send(Order::Upgrade);
                taken.map_err(|_| vec!["the running parlor ends already".to_owned()])?;
                Ok(upgrade.executable().to_owned())
            }),
        };
        Ok(House {
            started: start.started,
            app,
            reloader,
            desk: Some((desk, live)),
            relay,
            refusals,
            orders,
            drain_progress,
            http: listeners.http,
            plain: listeners.plain,
            https,
            metrics: listeners.metrics,
            tcp,
            upgrade: start.upgrade,
            stop,
            first_start: prepared.first_start,
            invite: start.invite,
        })
    }

    /// Creates the Lobby if needed, logs the listeners, and serves. Also returns the line with the link
    /// or command, to be printed after all log lines.
    async fn open(&mut self, hangups: Caught) -> anyhow::Result<(Work, WayIn)> {
        let address = self.http[0].local_addr()?;
        let mut way_in = lobby::open(&self.app, address, self.first_start, self.invite).await?;
        let invite = way_in.invite.take();
        let turn = [&self.app.turn[..], &self.app.turn_tls];
        let mode = self.app.settings().config.tls.mode;
        startup::announce(mode, &self.http, &self.plain, &self.metrics, turn)?;
        let (app, stop) = (&self.app, &self.stop);
        let (desk, live) = self.desk.take().context("the house is opened once")?;
        tracing::info!(path = %desk.path().display(), "commands are taken");
        let http = http::Listeners {
            main: startup::to_tokio(mem::take(&mut self.http))?,
            tls: self.https.take(),
            plain: startup::to_tokio(mem::take(&mut self.plain))?,
        };
        let metrics = startup::to_tokio(mem::take(&mut self.metrics))?;
        let (reloader, store) = (self.reloader.clone(), app.store.clone());
        let following_clock = clock_step::follow(self.started, reloader, store, invite);
        let work = Work {
            serving: [
                tokio::spawn(http::serve(app.clone(), http, stop.clone())),
                tokio::spawn(http::serve_metrics(app.clone(), metrics, stop.clone())),
                tokio::spawn(admin::serve(desk, live, stop.clone())),
            ],
            following: tokio::spawn(refusal::follow(app.clone(), self.refusals.clone())),
            following_clock: tokio::spawn(following_clock),
            reloading: tokio::spawn(reload::at_each(hangups, self.reloader.clone())),
            certifying: tokio::spawn(certificate::keep(self.reloader.clone())),
        };
        Ok((work, way_in))
    }

    /// Waits for whatever ends this, and drains where that is asked for.
    async fn until_the_end(&mut self, signals: &mut Signals, upgrades: &mut Caught) -> Ending {
        let upgrade = self.upgrade.clone();
        let mut checking: Option<BoxFuture<'_, bool>> = None;
        let span = loop {
            let idle = checking.is_none();
            let checked = async {
                match &mut checking {
                    Some(check) => check.await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                name = signals.next() => match kept_after(name) {
                    Some(store) => return Ending::Keep(store),
                    None => break self.app.settings().config.server.drain_timeout,
                },
                Some(order) = self.orders.recv() => match order {
                    Order::Drain(span) => break span,
                    Order::Upgrade => return Ending::Replace(upgrade.clone()),
                },
                (ended, _, _) = &mut self.relay.ended => {
                    return Ending::Failure(relay_failure(ended));
                }
                fits = checked => match fits {
                    true => return Ending::Replace(upgrade.clone()),
                    false => checking = None,
                },
                // A second signal stays pending until this one has been handled.
                () = upgrades.next(), if idle => {
                    checking = Some(Box::pin(may_go_on(&upgrade)));
                }
            }
        };
        self.drain(span, signals).await
    }

    /// Takes nobody new and lets calls finish: for as long as `span`, until nothing is left, or until
    /// a signal.
    async fn drain(&mut self, span: Duration, signals: &mut Signals) -> Ending {
        if span.is_zero() {
            return Ending::Stop(GOODBYE);
        }
        // No command from now on: what ends is told so.
        self.orders.close();
        let begin = Instant::now();
        let progress = &self.drain_progress;
        let ending = tokio::select! {
            emptied = drain::run(&self.app, begin, span, progress) => match emptied {
                Ok(()) => Ending::Stop(GOODBYE),
                Err(error) => Ending::Failure(error),
            },
            name = signals.next() => {
                tracing::info!("drained no longer");
                kept_after(name).map_or(Ending::Stop(BRIEF_GOODBYE), Ending::Keep)
            }
            (ended, _, _) = &mut self.relay.ended => Ending::Failure(relay_failure(ended)),
        };
        let cut_off = match &ending {
            // Relays continue in the next process.
            Ending::Keep(_) => 0,
            _ => self.app.relay.allocations() as u64,
        };
        drain::publish(&self.app, begin, Some(cut_off), progress);
        ending
    }

    /// Ends everything but the sockets, which the next process goes on with. Who is connected is
    /// told to come back; nobody is waited for.
    async fn hand_over(self, work: Work) -> anyhow::Result<Handover> {
        let rooms = self.app.hub.restart().into_iter();
        let owned = rooms.map(|(room, users)| {
            let users = users.iter().map(ToString::to_string);
            (room.to_string(), users.collect())
        });
        let rooms = owned.collect();
        self.stop.cancel();
        work.end_what_runs_beside();
        // Until here and for a moment longer, media passes.
        let goodbye = future::join_all(work.serving);
        let _ = tokio::time::timeout(BRIEF_GOODBYE, goodbye).await;
        let external = self.relay.handle.current().names.known().to_vec();
        let stopped = self.relay.hand_over();
        let state = State {
            boot: handover::boot(),
            at: clock::now().mono,
            external,
            rooms,
            ..State::default()
        };
        let handover = Handover::new(state, stopped, self.tcp);
        let handover = handover.context("what goes on could not be written down")?;
        let (allocations, left) = (handover.allocations, handover.left);
        if left > 0 {
            tracing::warn!(left, "there was no room for all sockets on their way");
        }
        tracing::info!(allocations, "handed over");
        Ok(handover)
    }

    /// Says goodbye to everybody, for as long as that or until a signal; then lets go of everything.
    async fn close(self, work: Work, goodbye: Duration, signals: &mut Signals) {
        // From now on nobody is to wait here.
        drop(self.tcp);
        self.stop.cancel();
        work.end_what_runs_beside();
        let said = tokio::time::timeout(goodbye, future::join_all(work.serving));
        let in_time = tokio::select! {
            said = said => said.is_ok(),
            _ = signals.next() => false,
        };
        if !in_time {
            tracing::warn!("some connections did not end in time");
        }
        self.relay.stop();
    }
}

/// After a signal: where a service manager keeps what the next process goes on with, if one does.
fn kept_after(name: &'static str) -> Option<Store> {
    let store = Store::of_process().filter(|_| name == signals::TERMINATE);
    tracing::info!(signal = name, kept = store.is_some(), "stopping");
    store
}

/// Whether a binary can be started with this configuration; where not, the log says why.
async fn may_go_on(upgrade: &Upgrade) -> bool {
    let asked = upgrade.clone();
    let checked = tokio::task::spawn_blocking(move || asked.check()).await;
    let problems = match checked {
        Ok(Ok(())) => return true,
        Ok(Err(problems)) => problems,
        Err(error) => vec![error.to_string()],
    };
    let executable = upgrade.executable().display();
    for problem in problems {
        tracing::error!(%executable, problem, "no upgrade: this one goes on");
    }
    false
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
