//! Resources that a start needs before it serves: data directory, keys, sockets.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::Context as _;
use ring::rand::{SecureRandom, SystemRandom};

use crate::bus::redis::SavedNode;
use crate::clock;
use crate::config::{self, Config, RelayMode, TlsMode, plain_listen, turn_tls_listen};
use crate::credential::Credentials;
use crate::data_dir::{self, DataDir, SecretFile};
use crate::ingress::limits::MAX_STREAMS;
use crate::relay::{self, sockets};
use crate::secret::Secret;
use crate::storage::{Store, StoreLock};
use crate::token::Tokens;
use crate::turn::Nonces;

use super::cluster::{self, Cluster};
use super::secrets::Secrets;

/// Descriptors reserved for files and sockets that are neither connections nor relay sockets.
const OTHER_DESCRIPTORS: u64 = 256;

/// Minimum number of allocations, even if the descriptor limit is lower.
const MIN_ALLOCATIONS: u64 = 64;

/// The data directory and the values read from it.
pub(super) struct Prepared {
    pub secrets: Secrets,
    pub store: Store,
    pub tokens: Tokens,
    pub credentials: Credentials,
    pub nonces: Nonces,
    /// The connection to the other nodes, if there are several.
    pub cluster: Option<Cluster>,
    /// Whether `serve` uses this directory for the first time.
    pub first_start: bool,
}

impl Prepared {
    /// `node` is the paused node of the previous process, if there are several nodes.
    pub(super) async fn new(config: &Config, node: Option<SavedNode>) -> anyhow::Result<Prepared> {
        let data_dir = DataDir::acquire(&data_dir::resolve(&config.server)?)?;
        let mut secrets = Secrets::new(data_dir);
        let (tokens, credentials) = secrets.tokens_and_credentials(config)?;
        let data_dir = secrets.data_dir();
        // Only `serve` creates this file.
        let first_start = !data_dir.has_secret(SecretFile::NonceKey);
        let mut nonce_keys = data_dir.nonce_keys(clock::now().unix)?;
        let cluster = Cluster::configured(config, seed()?, node)?;
        let mut lock = StoreLock::Exclusive;
        if let Some(cluster) = &cluster {
            lock = StoreLock::Shared;
            // Clients of the relay move between nodes with their nonces.
            nonce_keys.splice(0..0, cluster::nonce_keys(config));
            cluster.wait_for_server().await?;
        }
        let nonce_keys: Vec<_> = nonce_keys.iter().map(Secret::expose).collect();
        Ok(Prepared {
            cluster,
            store: Store::open_configured(&config.store, lock, || {
                anyhow::Ok(data_dir.database_path()?)
            })
            .await?,
            tokens,
            credentials,
            nonces: Nonces::new(&nonce_keys),
            first_start,
            secrets,
        })
    }
}

/// Every listening socket.
pub(super) struct Listeners {
    pub http: Vec<TcpListener>,
    /// Listeners that redirect to HTTPS.
    pub plain: Vec<TcpListener>,
    pub metrics: Vec<TcpListener>,
    pub turn: relay::BoundListeners,
}

impl Listeners {
    /// Binds all listeners that were not inherited.
    pub(super) fn bind(
        config: &Config,
        inherited: &mut relay::Inherited,
    ) -> anyhow::Result<Listeners> {
        let (http, metrics) = (&config.http.listen, &config.admin.metrics_listen);
        inherited.close_stale_listeners(&config::tcp_listeners(config));
        let listeners = Listeners {
            http: tcp(http, "http.listen", inherited)?,
            plain: tcp(&plain_listen(config), "http.plain_listen", inherited)?,
            metrics: tcp(metrics, "admin.metrics_listen", inherited)?,
            turn: relay::bind(
                &config.turn.listen,
                &turn_tls_listen(config),
                relay::shard_count(&config.turn),
                inherited,
            )?
            .with_alternate_port(&config.turn, inherited)?,
        };
        listeners.warn_unclaimed(inherited)?;
        Ok(listeners)
    }

    /// Logs inherited listeners that are in no setting.
    fn warn_unclaimed(&self, inherited: &relay::Inherited) -> io::Result<()> {
        let taken = self.tcp()?.into_iter();
        let taken = taken.map(|(_, listener)| listener.local_addr());
        let taken: Vec<_> = taken.collect::<io::Result<_>>()?;
        // A socket unit and the descriptor store may both hold the same listener.
        let left = inherited.unclaimed_tcp().into_iter();
        for address in left.filter(|address| !taken.contains(address)) {
            tracing::warn!(
                %address,
                "inherited listener is in no setting: if a socket unit holds it, connections to it \
                 are never accepted"
            );
        }
        Ok(())
    }

    /// Returns a duplicate of every TCP listener with its setting, for a hand-over to the next process.
    pub(super) fn tcp(&self) -> io::Result<Vec<(&'static str, TcpListener)>> {
        let all = [
            ("http.listen", &self.http),
            ("http.plain_listen", &self.plain),
            ("admin.metrics_listen", &self.metrics),
            ("turn.listen", &self.turn.tcp),
            ("turn.tls_listen", &self.turn.tls),
        ];
        let all = all.into_iter().flat_map(|(key, listeners)| {
            let listeners = listeners.iter();
            listeners.map(move |listener| Ok((key, listener.try_clone()?)))
        });
        all.collect()
    }

    /// Returns the addresses of all listeners except TURN's.
    pub(super) fn http_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let all = [&self.http, &self.plain, &self.metrics];
        let all = all.into_iter().map(|listeners| addresses(listeners));
        Ok(all.collect::<io::Result<Vec<_>>>()?.concat())
    }
}

/// Returns the addresses of the listeners.
pub(super) fn addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
}

fn tcp(
    listen: &[SocketAddr],
    key: &str,
    inherited: &mut relay::Inherited,
) -> anyhow::Result<Vec<TcpListener>> {
    sockets::tcp_listeners(listen, key, inherited).map_err(anyhow::Error::msg)
}

pub(super) fn to_tokio(listeners: Vec<TcpListener>) -> io::Result<Vec<tokio::net::TcpListener>> {
    let listeners = listeners.into_iter();
    listeners.map(tokio::net::TcpListener::from_std).collect()
}

/// Logs one line per listener.
pub(super) fn log_listeners(
    tls: TlsMode,
    http: &[TcpListener],
    plain: &[TcpListener],
    metrics: &[TcpListener],
    [turn, turn_tls]: [&[SocketAddr]; 2],
) -> io::Result<()> {
    let main = match tls {
        TlsMode::Off => "http",
        _ => "https",
    };
    for (what, listeners) in [(main, http), ("http", plain), ("metrics", metrics)] {
        for listener in listeners {
            tracing::info!(what, address = %listener.local_addr()?, "listening");
        }
    }
    for address in turn {
        for what in ["turn-udp", "turn-tcp"] {
            tracing::info!(what, %address, "listening");
        }
    }
    for address in turn_tls {
        tracing::info!(what = "turn-tls", %address, "listening");
    }
    Ok(())
}

/// Resolves `turn.external_ip`. Queries for `auto` and DNS names may take seconds, unless the answers are
/// `known`.
pub(super) async fn resolve_external_ip(
    config: &Config,
    known: Vec<(String, IpAddr)>,
) -> anyhow::Result<relay::ExternalIps> {
    let mut names = relay::ExternalIps::new(&config.turn.external_ip, &config.ice.stun_urls, known);
    let asking = move || names.resolve(relay::Resolve::Unknown).map(|()| names);
    let names = tokio::task::spawn_blocking(asking).await?;
    names.context("turn.external_ip")
}

/// Logs the descriptor limit, and warns if the configuration needs more.
pub(super) fn log_descriptor_limit(config: &Config, descriptors: u64) {
    tracing::info!(descriptors, "descriptor limit");
    let allocations = match config.turn.mode {
        RelayMode::Ports => (config.turn.max_allocations as u64).max(MIN_ALLOCATIONS),
        RelayMode::Internal => 0,
    };
    let required = descriptors_without_allocations(config).saturating_add(allocations);
    if descriptors < required {
        tracing::warn!(
            descriptors,
            required,
            "descriptor limit is too low for the configured connections and allocations: raise it \
             (`ulimit -n`, LimitNOFILE= in the unit), or lower http.max_connections or \
             turn.max_allocations"
        );
    }
}

/// Returns the maximum number of descriptors in use, without those of allocations.
fn descriptors_without_allocations(config: &Config) -> u64 {
    // A shard has a socket on every address, a poller, and a waker.
    let listen = config.turn.listen.len() + 2 * config::discovery_pairs(&config.turn).len();
    let shards = relay::shard_count(&config.turn) * (listen + 2);
    let connections = config.http.max_connections as u64;
    connections.saturating_add((MAX_STREAMS + shards) as u64 + OTHER_DESCRIPTORS)
}

/// Returns `turn.max_allocations`, or the number that ports and descriptors allow.
pub(super) fn max_allocations(config: &Config, descriptors: u64) -> usize {
    if config.turn.max_allocations > 0 {
        return config.turn.max_allocations;
    }
    let ports = config.turn.relay_ports;
    let ports = u64::from(ports.last - ports.first) + 1;
    // The limits of connections are rarely reached, so the relay always gets half of the descriptors.
    let left = descriptors.saturating_sub(descriptors_without_allocations(config));
    let left = left.max(descriptors / 2).max(MIN_ALLOCATIONS);
    let allocations = match config.turn.mode {
        RelayMode::Ports => left.min(ports),
        RelayMode::Internal => ports,
    };
    tracing::info!(allocations, "allocation limit");
    allocations as usize
}

/// Returns a seed for the random generator of a shard.
pub(super) fn seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    let filled = SystemRandom::new().fill(&mut seed);
    filled.ok().context("the system provides no random bytes")?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_limits_of_a_configuration_do_not_overflow() {
        let mut config = Config::default();
        config.http.max_connections = usize::MAX;
        config.turn.max_allocations = usize::MAX;
        log_descriptor_limit(&config, 1024);
        assert_eq!(max_allocations(&config, 1024), usize::MAX);
        config.turn.max_allocations = 0;
        assert_eq!(max_allocations(&config, 1024), 512);
    }
}
