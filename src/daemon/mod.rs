//! `parlor serve`: builds everything from a configuration, waits for a signal, takes it down.

mod certificate;
mod clock_step;
mod default_room;
mod drain;
mod handover;
mod logging;
mod notify;
mod reload;
mod signals;
mod startup;
mod systemd;

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
use crate::bus;
use crate::clock::{self, Now};
use crate::config::{Loaded, Sources};
use crate::credential::Revocations;
use crate::http;
use crate::metrics::Metrics;
use crate::relay::{self, Relay};
use crate::service::{self, App, ChangeOrder, HealthLogLimits, LiveSettings, Settings};
use crate::tls;

use default_room::JoinHint;
use handover::{FdStore, Handover, Inherited, State, Upgrade};
use reload::Reloader;
use signals::{SignalStream, Signals};
use startup::{Listeners, Prepared};

/// How long connections may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The same where the next process serves them right away.
const BRIEF_CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

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
    let mut signals = Signals::subscribe()?;
    let reload_signals = SignalStream::reload_signals()?;
    let mut upgrade_signals = SignalStream::upgrade_signals()?;
    let lines = start.lines.clone();
    let config = &start.loaded.config;
    let prepared = Prepared::new(config)?;
    let listeners = Listeners::bind(config, &mut inherited.sockets)?;
    startup::log_descriptor_limit(config, start.descriptors);
    let known = mem::take(&mut inherited.external);
    let names = tokio::select! {
        names = startup::resolve_external_ip(config, known) => names?,
        // Restored calls must be handed on, or end like a drain.
        name = signals.next(), if !inherited.has_state => {
            tracing::info!(signal = name, "stopping before anything was served");
            return Ok(());
        }
    };
    let mut server = Server::build(start, prepared, listeners, names, &mut inherited).await?;
    let (tasks, join_hint) = server.open(reload_signals).await?;
    drop(inherited);
    if let Some(store) = FdStore::of_process()
        && let Err(error) = store.clear()
    {
        tracing::warn!(%error, "the service manager does not take what it is told");
    }
    tracing::info!("ready");
    systemd::ready();
    // After the log lines.
    lines.flush(BRIEF_FLUSH_TIMEOUT);
    default_room::print(join_hint.line);
    let posting = systemd::report_status(server.app.clone(), server.relay.collector());
    let posting = tokio::spawn(posting);
    let ending = server
        .wait_for_shutdown(&mut signals, &mut upgrade_signals)
        .await;
    posting.abort();
    if !matches!(ending, Shutdown::Replace(_)) {
        systemd::stopping();
    }
    match ending {
        Shutdown::Stop(close_timeout) => server.close(tasks, close_timeout, &mut signals).await,
        Shutdown::Failure(error) => {
            server.close(tasks, CLOSE_TIMEOUT, &mut signals).await;
            return Err(error);
        }
        Shutdown::Keep(store) => server.hand_over(tasks).await.and_then(|handover| {
            let left = store.store(&handover);
            let left = left.context("the service manager does not keep what it was sent")?;
            if left > 0 {
                tracing::warn!(
                    left,
                    "the descriptor store has no room for all sockets: raise FileDescriptorStoreMax="
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
            return Err(anyhow::Error::new(error).context(format!("{path} could not go on")));
        }
    }
    Ok(())
}

/// How a daemon ends.
enum Shutdown {
    /// Connections have so long to say goodbye.
    Stop(Duration),
    Failure(anyhow::Error),
    /// The next process is started with what the store keeps.
    Keep(FdStore),
    /// Another binary goes on in this process.
    Replace(Upgrade),
}

/// What commands ask for.
enum Request {
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
struct Server {
    started: Now,
    app: Arc<App>,
    /// Holds the data directory, locked for as long as anything may write to it.
    reloader: Arc<Reloader>,
    relay: Relay,
    revocations: Arc<Revocations>,
    http: Vec<TcpListener>,
    plain: Vec<TcpListener>,
    /// What is spoken at `http`, where that is TLS.
    https: Option<Arc<ServerConfig>>,
    metrics: Vec<TcpListener>,
    /// All that listen, for the next process.
    tcp: Vec<(&'static str, TcpListener)>,
    upgrade: Upgrade,
    requests: mpsc::Receiver<Request>,
    drain_progress: watch::Sender<Option<admin::DrainProgress>>,
    /// Until it is served.
    admin_socket: Option<(admin::Listener, admin::ServerContext)>,
    stop: CancellationToken,
    first_start: bool,
    invite: bool,
}

/// The tasks that serve, and those that only run beside.
struct Tasks {
    servers: [JoinHandle<()>; 3],
    application: JoinHandle<()>,
    clock_watcher: JoinHandle<()>,
    reload_on_sighup: JoinHandle<()>,
    certificate_task: JoinHandle<()>,
}

impl Tasks {
    fn abort_background(&self) {
        self.application.abort();
        self.clock_watcher.abort();
        self.reload_on_sighup.abort();
        self.certificate_task.abort();
    }
}

impl Server {
    async fn build(
        start: Start,
        prepared: Prepared,
        listeners: Listeners,
        names: relay::ExternalIps,
        inherited: &mut Inherited,
    ) -> anyhow::Result<Server> {
        let config = start.loaded.config;
        let tcp = listeners.tcp().context("a listener can't be kept")?;
        let data_dir = prepared.secrets.data_dir().path().to_owned();
        let admin_socket = admin::Listener::bind(&config.admin, &data_dir)?;
        let revocations = Arc::new(Revocations::default());
        service::load_revocations(&prepared.store, &revocations).await?;
        let stop = CancellationToken::new();
        let turn = listeners.turn.addresses()?;
        let turn_tls = listeners.turn.tls_addresses()?;
        let certificate = certificate::load(&config, prepared.secrets.data_dir())?;
        let tls_config = |protocols: &[&[u8]]| {
            let current = certificate.clone();
            let config = current.map(|one| tls::server_config(one, protocols));
            config.transpose().context("TLS can't be spoken")
        };
        let https = tls_config(&[tls::HTTP_2, tls::HTTP_1, tls::STUN_TURN])?;
        let options = relay::Options {
            turn: &config.turn,
            names,
            credentials: prepared.credentials.clone(),
            nonces: prepared.nonces,
            revocations: revocations.clone(),
            other_listeners: listeners.http_addresses()?,
            stun_urls: &config.ice.stun_urls,
            tls: tls_config(&[tls::STUN_TURN])?,
            trusted_proxies: &config.http.trusted_proxies,
            max_allocations: startup::max_allocations(&config, start.descriptors),
            seed: startup::seed()?,
        };
        let relay = Relay::start(listeners.turn, &mut inherited.sockets, options, &stop)?;
        let metrics = Metrics::new();
        metrics.register(Box::new(relay.collector()));
        metrics.register_storage_timings(prepared.store.times());
        metrics.count_dropped_log_lines(start.lines.dropped());
        let hub = service::Hub::new(&config.signaling, &metrics);
        let rooms = mem::take(&mut inherited.rooms).into_iter();
        let shared = |(room, users): (String, Vec<String>)| {
            let users = users.into_iter().map(Arc::from);
            (Arc::from(room), users.collect())
        };
        hub.expect_return(rooms.map(shared).collect());
        let mut bus = bus::Local::default();
        service::count_events(&mut bus, &metrics);
        let settings = Settings::new(config, prepared.tokens, prepared.credentials);
        let app = App {
            hub,
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
            live: LiveSettings::new(settings),
            bus,
            order: ChangeOrder::default(),
            health_log: HealthLogLimits::default(),
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
        let reload_on_sighup = reloader.clone();
        let (request, requests) = mpsc::channel(1);
        let (drain_progress, drain_progress_receiver) = watch::channel(None);
        let (drain_sender, upgrade_sender, upgrade) =
            (request.clone(), request, start.upgrade.clone());
        let live = admin::ServerContext {
            app: app.clone(),
            http: startup::addresses(&listeners.http)?,
            metrics: startup::addresses(&listeners.metrics)?,
            data_dir,
            socket: admin_socket.path().to_owned(),
            started: start.started,
            reload: Arc::new(move || reload_on_sighup.reload()),
            drain: Arc::new(move |span| drain_sender.try_send(Request::Drain(span)).is_ok()),
            drain_progress: drain_progress_receiver,
            upgrade: Arc::new(move || {
                upgrade.check()?;
                let taken = upgrade_sender.try_send(Request::Upgrade);
                taken.map_err(|_| vec!["the running parlor ends already".to_owned()])?;
                Ok(upgrade.executable().to_owned())
            }),
        };
        Ok(Server {
            started: start.started,
            app,
            reloader,
            admin_socket: Some((admin_socket, live)),
            relay,
            revocations,
            requests,
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
    async fn open(&mut self, reload_signals: SignalStream) -> anyhow::Result<(Tasks, JoinHint)> {
        let address = self.http[0].local_addr()?;
        let mut join_hint =
            default_room::open(&self.app, address, self.first_start, self.invite).await?;
        let invite = join_hint.invite.take();
        let turn = [&self.app.turn[..], &self.app.turn_tls];
        let mode = self.app.settings().config.tls.mode;
        startup::log_listeners(mode, &self.http, &self.plain, &self.metrics, turn)?;
        let (app, stop) = (&self.app, &self.stop);
        let (admin_socket, live) = self
            .admin_socket
            .take()
            .context("the house is opened once")?;
        tracing::info!(path = %admin_socket.path().display(), "commands are taken");
        let http = http::Listeners {
            main: startup::to_tokio(mem::take(&mut self.http))?,
            tls: self.https.take(),
            plain: startup::to_tokio(mem::take(&mut self.plain))?,
        };
        let metrics = startup::to_tokio(mem::take(&mut self.metrics))?;
        let (reloader, store) = (self.reloader.clone(), app.store.clone());
        let clock_watcher = clock_step::follow(self.started, reloader, store, invite);
        let state = http::State::new(app.clone());
        let tasks = Tasks {
            servers: [
                tokio::spawn(http::serve(state.clone(), http, stop.clone())),
                tokio::spawn(http::serve_metrics(state, metrics, stop.clone())),
                tokio::spawn(admin::serve(admin_socket, live, stop.clone())),
            ],
            application: tokio::spawn(service::run_background_tasks(
                app.clone(),
                self.revocations.clone(),
                stop.clone(),
            )),
            clock_watcher: tokio::spawn(clock_watcher),
            reload_on_sighup: tokio::spawn(reload::reload_on(
                reload_signals,
                self.reloader.clone(),
            )),
            certificate_task: tokio::spawn(certificate::maintain(self.reloader.clone())),
        };
        Ok((tasks, join_hint))
    }

    /// Waits for whatever ends this, and drains where that is asked for.
    async fn wait_for_shutdown(
        &mut self,
        signals: &mut Signals,
        upgrade_signals: &mut SignalStream,
    ) -> Shutdown {
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
                name = signals.next() => match fd_store_for(name) {
                    Some(store) => return Shutdown::Keep(store),
                    None => break self.app.settings().config.server.drain_timeout,
                },
                Some(request) = self.requests.recv() => match request {
                    Request::Drain(span) => break span,
                    Request::Upgrade => return Shutdown::Replace(upgrade.clone()),
                },
                (ended, _, _) = &mut self.relay.ended => {
                    return Shutdown::Failure(relay_failure(ended));
                }
                fits = checked => match fits {
                    true => return Shutdown::Replace(upgrade.clone()),
                    false => checking = None,
                },
                // A second signal stays pending until this one has been handled.
                () = upgrade_signals.next(), if idle => {
                    checking = Some(Box::pin(passes_check(&upgrade)));
                }
            }
        };
        self.drain(span, signals).await
    }

    /// Takes nobody new and lets calls finish: for as long as `span`, until nothing is left, or until
    /// a signal.
    async fn drain(&mut self, span: Duration, signals: &mut Signals) -> Shutdown {
        if span.is_zero() {
            return Shutdown::Stop(CLOSE_TIMEOUT);
        }
        // No command from now on: what ends is told so.
        self.requests.close();
        let begin = Instant::now();
        let progress = &self.drain_progress;
        let ending = tokio::select! {
            emptied = drain::run(&self.app, begin, span, progress) => match emptied {
                Ok(()) => Shutdown::Stop(CLOSE_TIMEOUT),
                Err(error) => Shutdown::Failure(error),
            },
            name = signals.next() => {
                tracing::info!("drained no longer");
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

    /// Ends everything but the sockets, which the next process goes on with. Who is connected is
    /// told to come back; nobody is waited for.
    async fn hand_over(self, tasks: Tasks) -> anyhow::Result<Handover> {
        let rooms = self.app.hub.restart().into_iter();
        let owned = rooms.map(|(room, users)| {
            let users = users.iter().map(ToString::to_string);
            (room.to_string(), users.collect())
        });
        let rooms = owned.collect();
        self.stop.cancel();
        tasks.abort_background();
        // Until here and for a moment longer, media passes.
        let close_timeout = future::join_all(tasks.servers);
        let _ = tokio::time::timeout(BRIEF_CLOSE_TIMEOUT, close_timeout).await;
        let external = self.relay.handle.host_state().names.known().to_vec();
        let stopped = self.relay.hand_over();
        let state = State {
            boot: handover::boot_id(),
            at: clock::now().mono,
            external,
            rooms,
            ..State::default()
        };
        let handover = Handover::new(state, stopped, self.tcp);
        let handover = handover.context("what goes on could not be written down")?;
        let (allocations, left) = (handover.allocations, handover.dropped_sockets);
        if left > 0 {
            tracing::warn!(left, "there was no room for all sockets on their way");
        }
        tracing::info!(allocations, "handed over");
        Ok(handover)
    }

    /// Says goodbye to everybody, for as long as that or until a signal; then lets go of everything.
    async fn close(self, tasks: Tasks, close_timeout: Duration, signals: &mut Signals) {
        // From now on nobody is to wait here.
        drop(self.tcp);
        self.stop.cancel();
        tasks.abort_background();
        let said = tokio::time::timeout(close_timeout, future::join_all(tasks.servers));
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
fn fd_store_for(name: &'static str) -> Option<FdStore> {
    let store = FdStore::of_process().filter(|_| name == signals::SIGTERM_NAME);
    tracing::info!(signal = name, kept = store.is_some(), "stopping");
    store
}

/// Whether a binary can be started with this configuration; where not, the log says why.
async fn passes_check(upgrade: &Upgrade) -> bool {
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
