//! The connection to the other nodes, if this is one of several.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ring::digest::{SHA256, digest};
use ring::hmac;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::bus::redis::{Cause, Link, LinkError, NodeInfo, SavedNode, Server, Settings};
use crate::config::{Config, is_node_name};
use crate::relay;
use crate::secret::Secret;
use crate::service::{self, App, Hub, RedisHealth, RelayNodes, SavedRoom};
use crate::storage::StoreLock;
use crate::tls::{Verification, client_config};

use super::about::About;
use super::{handover, secrets};

/// How long a start waits for a Redis server that cannot be reached yet.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts of a start.
const START_PAUSE: Duration = Duration::from_millis(250);
/// How long a start waits until Redis lists the node.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of the checks whether Redis lists the node.
const REGISTRATION_PAUSE: Duration = Duration::from_millis(5);
/// Timeout for telling the other nodes that this one ends.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Length of the name of a relay, before it is written in hexadecimal digits.
const RELAY_ID_BYTES: usize = 8;

/// The version of keys and scripts in Redis. Nodes with another one do not see each other.
const PROTOCOL: &str = "1:";

/// The refusal of a start whose users would not meet those of other nodes.
const OTHER_KEYS: &str = "another node on this PostgreSQL database has another cluster.prefix, or another database \
    number in cluster.redis_url: give all nodes the same";

/// The purpose of the derived key, for key separation.
const NONCE_KEY_LABEL: &[u8] = b"parlor nonce key";

/// One node of several.
pub(super) struct Cluster {
    pub(super) link: Arc<Link>,
    server: Server,
    /// The URL of the server without its password.
    url: String,
    name: String,
    prefix: String,
    lease: Duration,
    about: About,
}

impl Cluster {
    /// Returns the node that the settings describe; `None` without `cluster.redis_url`. `seed` must be random. Continues a
    /// paused node, if there is one.
    pub(super) fn configured(
        config: &Config,
        seed: [u8; 32],
        paused: Option<SavedNode>,
    ) -> anyhow::Result<Option<Cluster>> {
        let Some((server, url)) = server(config)? else {
            return Ok(None);
        };
        let cluster = &config.cluster;
        let (name, about) = (node_name(config)?, About::new(config));
        let settings = Settings {
            name: name.clone(),
            prefix: format!("{}{PROTOCOL}", cluster.prefix),
            lease: cluster.lease,
            about: about.to_text(),
        };
        Ok(Some(Cluster {
            link: Arc::new(Link::resume(settings, seed, paused)),
            server,
            url,
            name,
            prefix: cluster.prefix.clone(),
            lease: cluster.lease,
            about,
        }))
    }

    /// The state of the connection to Redis, which names what the nodes of this cluster use there.
    pub(super) fn redis_health(&self) -> RedisHealth {
        RedisHealth::new(format!("{}:{}", self.server.database(), self.prefix))
    }

    /// The placements of rooms on the relays of all nodes. `socket` is the inode of a socket that the relay keeps when
    /// it is handed over: with the boot, it names the relay.
    pub(super) fn relay_nodes(&self, relay: relay::Handle, socket: u64) -> RelayNodes {
        let name = format!("{} {socket}", handover::boot_id());
        let hash = digest(&SHA256, name.as_bytes());
        let bytes = hash.as_ref().iter().take(RELAY_ID_BYTES);
        let id = bytes.map(|byte| format!("{byte:02x}")).collect();
        RelayNodes::new(self.link.clone(), relay, id, self.lease)
    }

    /// Waits a few seconds for a server that is starting, then checks that the other nodes have the same secrets.
    pub(super) async fn wait_for_server(&self) -> anyhow::Result<()> {
        tracing::info!(node = self.name, redis = self.url, "one of several nodes");
        let deadline = Instant::now() + START_TIMEOUT;
        let mut is_waiting = false;
        while let Err(error) = self.server.probe().await {
            if !error.may_pass() || Instant::now() >= deadline {
                return Err(unusable(&self.url, &error));
            }
            if !is_waiting {
                tracing::info!(redis = self.url, %error, "waiting for the Redis server");
            }
            is_waiting = true;
            sleep(START_PAUSE).await;
        }
        self.check_secrets(None).await?;
        self.warn_of_differences().await;
        Ok(())
    }

    /// Checks that this node and the live ones accept each other's tokens and credentials. A node with the same name is
    /// this one, as it was before a restart; so is one with the `former` name.
    async fn check_secrets(&self, former: Option<&str>) -> anyhow::Result<()> {
        let nodes = self.link.read_nodes(&self.server).await;
        let nodes = nodes.map_err(|error| unusable(&self.url, &error))?;
        self.compare_secrets(&nodes, former)
    }

    fn compare_secrets(&self, nodes: &[NodeInfo], former: Option<&str>) -> anyhow::Result<()> {
        let is_own = |name: &str| name == self.name || Some(name) == former;
        for node in nodes.iter().filter(|node| !is_own(node.name())) {
            if let Some(setting) = self.about.difference(&About::parse(&node.about)) {
                bail!(
                    "{setting} differs from that of the node `{}`: give all nodes the same \
                     auth.secret, turn.secret and turn.realm",
                    node.name()
                );
            }
        }
        Ok(())
    }

    /// Logs settings that should be the same on all nodes, and are not.
    async fn warn_of_differences(&self) {
        let Ok(nodes) = self.link.read_nodes(&self.server).await else {
            return;
        };
        for node in nodes.iter().filter(|node| node.name() != self.name) {
            for setting in self.about.differences(&About::parse(&node.about)) {
                tracing::warn!(
                    setting,
                    other = node.name(),
                    "a setting differs from that of another node: give all nodes the same"
                );
            }
        }
    }

    /// Connects to the other nodes. Returns when Redis lists this one, or after a few seconds.
    ///
    /// # Errors
    /// A node with other secrets has started at the same time, or nodes on the same database use another Redis.
    pub(super) async fn start(self, app: Arc<App>) -> anyhow::Result<Running> {
        let link = self.link.clone();
        About::announce(&app);
        let checked = app.clone();
        let running = service::cluster::run(app.hub.clone(), link.clone(), self.server.clone());
        let task = tokio::spawn(running);
        let registered = async {
            while !link.is_available() {
                sleep(REGISTRATION_PAUSE).await;
            }
        };
        // A server that has just ended is waited for while clients are refused.
        let is_registered = timeout(REGISTRATION_TIMEOUT, registered).await.is_ok();
        let running = Running {
            link: link.clone(),
            task,
            announcing: tokio::spawn(announce_addresses(app)),
        };
        if !is_registered {
            return Ok(running);
        }
        let refusal = match self.check_secrets(None).await {
            Ok(()) => check_redis(&checked).await,
            refusal => refusal,
        };
        if let Err(error) = refusal {
            running.finish().await;
            return Err(error);
        }
        Ok(running)
    }
}

/// A node that is connected to the others.
pub(super) struct Running {
    link: Arc<Link>,
    task: JoinHandle<()>,
    announcing: JoinHandle<()>,
}

impl Running {
    /// Ends the connection to the other nodes, of which this one restarts. Returns the node and its rooms, with which the
    /// next process continues if there are sessions. Connections must have ended.
    pub(super) async fn hand_over(self, hub: &Hub) -> Option<(SavedNode, Vec<SavedRoom>)> {
        if !hub.keeps_sessions() {
            self.finish_until_return().await;
            return None;
        }
        let Ok(Some(node)) = timeout(FINISH_TIMEOUT, self.link.pause()).await else {
            self.finish_until_return().await;
            return None;
        };
        self.announcing.abort();
        self.task.abort();
        // It ends between two entries of the inbox.
        let _ = self.task.await;
        let rooms = hub.save_rooms().filter(|_| self.link.is_sent());
        if rooms.is_none() {
            tracing::warn!("other nodes will notice the end of this one by its lease");
        }
        rooms.map(|rooms| (node, rooms))
    }

    /// As [`Running::finish`], but the relay continues in the next process.
    pub(super) async fn finish_until_return(self) {
        let announced = timeout(FINISH_TIMEOUT, self.link.announce_return()).await;
        if announced.is_err() {
            tracing::warn!("rooms of this relay may move to others");
        }
        self.finish().await;
    }

    /// Reports to the other nodes that this one ends. Its connections must have ended.
    pub(super) async fn finish(self) {
        if timeout(FINISH_TIMEOUT, self.link.finish()).await.is_err() {
            tracing::warn!("other nodes will notice the end of this one by its lease");
        }
        self.task.abort();
        self.announcing.abort();
    }
}

/// Checks that the nodes on the same database use the same keys in Redis. Otherwise their users would not meet.
async fn check_redis(app: &App) -> anyhow::Result<()> {
    if !service::have_same_keys(app, START_TIMEOUT).await {
        bail!(OTHER_KEYS);
    }
    Ok(())
}

/// Tells the other nodes each change of this host's addresses, for ever.
async fn announce_addresses(app: Arc<App>) {
    let mut changes = app.relay.address_changes();
    while changes.changed().await.is_ok() {
        About::announce(&app);
    }
}

/// Checks that a start with these settings would succeed now if this process ended: that it could open the store and use
/// Redis, and that other nodes would accept it. Does not wait. `seed` must be random.
pub(super) async fn check_start(config: &Config, app: &App, seed: [u8; 32]) -> anyhow::Result<()> {
    secrets::require_shared(config)?;
    let Some(cluster) = Cluster::configured(config, seed, None)? else {
        app.store.probe(&config.store, StoreLock::Exclusive).await?;
        return Ok(());
    };
    let reached = app.store.probe(&config.store, StoreLock::Shared).await?;
    let probed = cluster.server.probe().await;
    probed.map_err(|error| unusable(&cluster.url, &error))?;
    cluster.check_secrets(app.node_name().as_deref()).await?;
    if !cluster.redis_health().has_same_keys(&reached) {
        bail!(OTHER_KEYS);
    }
    Ok(())
}

/// Checks that the other nodes accept this node with these settings of a reload. Without Redis, as far as they are known.
/// `seed` must be random.
pub(super) async fn check_reload(config: &Config, app: &App, seed: [u8; 32]) -> anyhow::Result<()> {
    let (Some(link), Some(cluster)) = (app.hub.link(), Cluster::configured(config, seed, None)?)
    else {
        return Ok(());
    };
    // The known list may be some seconds old.
    let nodes = cluster.link.read_nodes(&cluster.server).await;
    let nodes = nodes.unwrap_or_else(|_| link.nodes().borrow().clone());
    cluster.compare_secrets(&nodes, app.node_name().as_deref())
}

/// Returns keys for nonces that all nodes with the same TURN secrets share, newest first.
pub(super) fn nonce_keys(config: &Config) -> Vec<Secret> {
    let turn = &config.turn;
    let secrets = turn.secret.iter().chain(&turn.previous_secrets);
    let derived = secrets.map(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let tag = hmac::sign(&key, NONCE_KEY_LABEL);
        let bytes = tag.as_ref().iter();
        Secret::new(bytes.map(|byte| format!("{byte:02x}")).collect::<String>())
    });
    derived.collect()
}

fn server(config: &Config) -> anyhow::Result<Option<(Server, String)>> {
    let cluster = &config.cluster;
    let Some(url) = &cluster.redis_url else {
        return Ok(None);
    };
    let verification = if url.has_tls() {
        Verification::Full
    } else {
        Verification::None
    };
    let ca_file = cluster.redis_ca_file.as_deref();
    let tls = client_config(verification, ca_file).map_err(anyhow::Error::msg);
    let tls = tls.with_context(|| format!("the Redis server {url} can't be verified"))?;
    let server = Server::new(url.expose(), &tls);
    let server = server.with_context(|| format!("the Redis server {url} can't be used"))?;
    let server = match &cluster.redis_password {
        Some(password) => server.with_password(password.expose()),
        None => server,
    };
    Ok(Some((server, url.to_string())))
}

fn unusable(url: &str, error: &LinkError) -> anyhow::Error {
    let advice = match error.cause() {
        _ if error.may_pass() => "check that it runs, and `cluster.redis_url`",
        Cause::Authority => "set `cluster.redis_ca_file` to the certificate of its authority",
        Cause::Login => "check `cluster.redis_password`, its file or its credential",
        Cause::Other => "check `cluster.redis_url`",
    };
    anyhow::anyhow!("the Redis server {url} can't be used: {error}; {advice}")
}

/// Returns the name of this node.
fn node_name(config: &Config) -> anyhow::Result<String> {
    if let Some(name) = &config.cluster.node {
        return Ok(name.clone());
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if !is_node_name(name) {
        bail!("the name of this host, `{name}`, cannot be that of a node; set cluster.node");
    }
    Ok(name.to_owned())
}
