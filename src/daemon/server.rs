//! The running server: its parts, and how they are built and started.

use std::mem;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::bus;
use crate::clock::Now;
use crate::config::{Loaded, Sources};
use crate::credential::Revocations;
use crate::http;
use crate::metrics::Metrics;
use crate::relay::{self, Relay};
use crate::service::{self, App, ChangeOrder, HealthLogLimits, LiveSettings, Settings};
use crate::tls::{self, CertResolver};

use super::cluster::{Cluster, Running};
use super::default_room::JoinHint;
use super::handover::{Inherited, Upgrade};
use super::reload::Reloader;
use super::signals::SignalStream;
use super::startup::{Listeners, Prepared};
use super::{certificate, clock_step, default_room, logging, reload, startup};

/// The inputs of a start.
pub(super) struct Start {
    pub(super) started: Now,
    /// Print a new invite link.
    pub(super) invite: bool,
    pub(super) sources: Sources,
    pub(super) loaded: Loaded,
    pub(super) lines: logging::Queue,
    pub(super) level: logging::Level,
    pub(super) descriptors: u64,
    pub(super) upgrade: Upgrade,
}

/// The parts of a running server.
pub(super) struct Server {
    pub(super) started: Now,
    pub(super) app: Arc<App>,
    /// Holds the lock of the data directory for as long as a task may write to it.
    pub(super) reloader: Arc<Reloader>,
    pub(super) relay: Relay,
    pub(super) revocations: Arc<Revocations>,
    pub(super) http: Vec<TcpListener>,
    pub(super) plain: Vec<TcpListener>,
    /// TLS configuration of `http`, if TLS is on.
    pub(super) https: Option<Arc<ServerConfig>>,
    pub(super) metrics: Vec<TcpListener>,
    /// All TCP listeners with their settings, for a hand-over.
    pub(super) tcp: Vec<(&'static str, TcpListener)>,
    pub(super) upgrade: Upgrade,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) drain_progress: watch::Sender<Option<admin::DrainProgress>>,
    /// `None` once it is served.
    pub(super) admin_socket: Option<(admin::Listener, admin::ServerContext)>,
    /// `None` once it is connected, and without other nodes.
    pub(super) cluster: Option<Cluster>,
    pub(super) stop: CancellationToken,
    pub(super) first_start: bool,
    pub(super) invite: bool,
}

/// The tasks of a running server.
pub(super) struct Tasks {
    pub(super) servers: [JoinHandle<()>; 3],
    pub(super) application: JoinHandle<()>,
    pub(super) clock_watcher: JoinHandle<()>,
    pub(super) reload_on_sighup: JoinHandle<()>,
    pub(super) certificate_task: JoinHandle<()>,
    /// The connection to the other nodes, if there are several.
    pub(super) cluster: Option<Running>,
}

impl Tasks {
    /// Ends the tasks that serve no clients.
    pub(super) fn abort_background(&self) {
        self.application.abort();
        self.clock_watcher.abort();
        self.reload_on_sighup.abort();
        self.certificate_task.abort();
    }
}

/// A request of an admin command.
pub(super) enum Request {
    /// Drain within this time, then stop.
    Drain(Duration),
    /// Replace this process with the binary on disk, which accepted the configuration.
    Upgrade,
}

impl Server {
    /// Builds the server on bound listeners. Nothing is served yet.
    pub(super) async fn build(
        start: Start,
        mut prepared: Prepared,
        listeners: Listeners,
        names: relay::ExternalIps,
        inherited: &mut Inherited,
    ) -> anyhow::Result<Server> {
        let config = start.loaded.config;
        let tcp = listeners.tcp().context("a listener can't be duplicated")?;
        let data_dir = prepared.secrets.data_dir().path().to_owned();
        let admin_socket = admin::Listener::bind(&config.admin, &data_dir)?;
        let revocations = Arc::new(Revocations::default());
        service::load_revocations(&prepared.store, &revocations).await?;
        let stop = CancellationToken::new();
        let turn = listeners.turn.addresses()?;
        let turn_tls = listeners.turn.tls_addresses()?;
        let certificate =
            certificate::load(&config, &mut prepared.secrets, &prepared.store).await?;
        let tls_config = |protocols| tls_config(certificate.clone(), protocols);
        let https = tls_config(&[tls::HTTP_2, tls::HTTP_1, tls::STUN_TURN])?;
        let options = relay::Options {
            turn: &config.turn,
            external_ips: names,
            credentials: prepared.credentials.clone(),
            nonces: prepared.nonces,
            revocations: revocations.clone(),
            other_listeners: listeners.http_addresses()?,
            stun_urls: &config.ice.stun_urls,
            tls: tls_config(&[tls::STUN_TURN])?,
            trusted_proxies: &config.http.trusted_proxies,
            max_allocations: startup::max_allocations(&config, start.descriptors),
            has_other_nodes: prepared.cluster.is_some(),
            seed: startup::seed()?,
        };
        let relay_socket = listeners.turn.inode()?;
        let relay = Relay::start(listeners.turn, &mut inherited.sockets, options, &stop)?;
        let metrics = Metrics::new();
        metrics.register(Box::new(relay.collector()));
        metrics.register_storage_timings(prepared.store.times());
        metrics.count_dropped_log_lines(start.lines.dropped());
        let cluster = prepared.cluster.as_ref();
        let link = cluster.map(|cluster| cluster.link.clone());
        let hub = service::Hub::with_link(&config.signaling, &metrics, link);
        let expected = expected_users(inherited);
        let sessions = mem::take(&mut inherited.sessions);
        match cluster {
            None => hub.expect_return(expected, sessions, &config.signaling),
            Some(cluster) if cluster.link.is_resumed() => {
                hub.restore_sessions(sessions, &config.signaling);
            }
            // The rosters do not list the users any more.
            Some(_) => {}
        }
        let mut bus = bus::Local::default();
        service::count_events(&mut bus, &metrics);
        let relay_nodes = match cluster {
            Some(cluster) => Some(cluster.relay_nodes(relay.handle.clone(), relay_socket)),
            None => None,
        };
        let redis_health = cluster.map(Cluster::redis_health).unwrap_or_default();
        let issuer_keys = service::IssuerKeys::new(&config.auth);
        let issuer_keys = issuer_keys
            .map_err(anyhow::Error::msg)
            .context("the keys at auth.jwks_url cannot be fetched")?;
        let settings = Settings::new(config, prepared.tokens, prepared.credentials);
        let app = App {
            issuer_keys: issuer_keys.map(Arc::new),
            started: start.started,
            hub,
            relay: relay.handle.clone(),
            metrics,
            turn,
            turn_tls,
            https: if https.is_some() {
                startup::addresses(&listeners.http)?
            } else {
                Vec::new()
            },
            certificate: certificate.clone(),
            store: prepared.store,
            live: LiveSettings::new(settings),
            bus,
            order: ChangeOrder::default(),
            health_log: HealthLogLimits::default(),
            redis_health,
            relay_nodes,
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
        let (reload_on_request, reloader_of_upgrade) = (reloader.clone(), reloader.clone());
        let (request, requests) = mpsc::channel(1);
        let (drain_progress, drain_progress_receiver) = watch::channel(None);
        let (drain_sender, upgrade_sender, upgrade) =
            (request.clone(), request, start.upgrade.clone());
        let context = admin::ServerContext {
            app: app.clone(),
            http: startup::addresses(&listeners.http)?,
            metrics: startup::addresses(&listeners.metrics)?,
            data_dir,
            socket: admin_socket.path().to_owned(),
            reload: Arc::new(move || reload_on_request.reload()),
            drain: Arc::new(move |limit| drain_sender.try_send(Request::Drain(limit)).is_ok()),
            drain_progress: drain_progress_receiver,
            upgrade: Arc::new(move || {
                request_upgrade(&upgrade, &reloader_of_upgrade, &upgrade_sender)
            }),
        };
        Ok(Server {
            started: start.started,
            app,
            reloader,
            admin_socket: Some((admin_socket, context)),
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
            cluster: prepared.cluster,
            stop,
            first_start: prepared.first_start,
            invite: start.invite,
        })
    }

    /// Creates the default room if needed, logs the listeners, and serves. Also returns the line with the
    /// link or command, to be printed after all log lines.
    pub(super) async fn open(
        &mut self,
        reload_signals: SignalStream,
    ) -> anyhow::Result<(Tasks, JoinHint)> {
        let cluster = match self.cluster.take() {
            Some(cluster) => Some(cluster.start(self.app.clone()).await?),
            None => None,
        };
        let address = self.http[0].local_addr()?;
        let mut join_hint =
            default_room::open(&self.app, address, self.first_start, self.invite).await?;
        let invite = join_hint.invite.take();
        let turn = [&self.app.turn[..], &self.app.turn_tls];
        let mode = self.app.settings().config.tls.mode;
        startup::log_listeners(mode, &self.http, &self.plain, &self.metrics, turn)?;
        let (app, stop) = (&self.app, &self.stop);
        let (admin_socket, context) = self
            .admin_socket
            .take()
            .context("the server is already open")?;
        tracing::info!(path = %admin_socket.path().display(), "admin socket open");
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
                tokio::spawn(admin::serve(admin_socket, context, stop.clone())),
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
            cluster,
        };
        Ok((tasks, join_hint))
    }
}

fn tls_config(
    resolver: Option<Arc<CertResolver>>,
    protocols: &[&[u8]],
) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let config = resolver.map(|resolver| tls::server_config(resolver, protocols));
    config.transpose().context("TLS can't be configured")
}

/// Returns the rooms and users of the previous process, whose connections are expected back.
fn expected_users(inherited: &mut Inherited) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
    let rooms = mem::take(&mut inherited.rooms).into_iter();
    let shared = rooms.map(|(room, users)| {
        let users = users.into_iter().map(Arc::from).collect();
        (Arc::from(room), users)
    });
    shared.collect()
}

/// Checks that the new binary accepts the configuration, and that it could start: a start that waits for a server serves
/// no calls, and its failure ends them. Blocks.
pub(super) fn check_upgrade(upgrade: &Upgrade, reloader: &Reloader) -> Result<(), Vec<String>> {
    upgrade.check()?;
    reloader.check_start()
}

/// Returns the path of the new binary, after the check of the upgrade.
fn request_upgrade(
    upgrade: &Upgrade,
    reloader: &Reloader,
    requests: &mpsc::Sender<Request>,
) -> Result<PathBuf, Vec<String>> {
    check_upgrade(upgrade, reloader).map_err(|mut problems| {
        problems.push(admin::NOT_UPGRADED.to_owned());
        problems
    })?;
    let sent = requests.try_send(Request::Upgrade);
    sent.map_err(|_| vec!["the server is already shutting down".to_owned()])?;
    Ok(upgrade.executable().to_owned())
}
