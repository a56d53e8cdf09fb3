//! The options of a relay, and the number of its shards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use ipnet::IpNet;
use rustls::ServerConfig;

use crate::config;
use crate::credential::{Credentials, Revocations};
use crate::turn::{Directory, Nonces};

use super::external_ip::ExternalIps;

/// Minimum number of relay port pairs for each shard. With fewer, a shard would run out of ports while
/// others have free ones.
const MIN_PORT_PAIRS_PER_SHARD: usize = 64;

/// The options that a relay is started with.
pub struct Options<'a> {
    pub turn: &'a config::Turn,
    /// The entries of `turn.external_ip`, with all required addresses known.
    pub external_ips: ExternalIps,
    pub credentials: Credentials,
    pub nonces: Nonces,
    pub revocations: Arc<Revocations>,
    /// Other listeners of this process, which are denied as peers.
    pub other_listeners: Vec<SocketAddr>,
    /// The STUN servers for `turn.external_ip = "auto"`.
    pub stun_urls: &'a [String],
    /// The TLS configuration of `turn.tls_listen`; required if that has an address.
    pub tls: Option<Arc<ServerConfig>>,
    /// The proxies that send a PROXY header if `turn.proxy_protocol` is on.
    pub trusted_proxies: &'a [IpNet],
    /// Maximum number of allocations at a time.
    pub max_allocations: usize,
    /// Whether several servers share the rooms.
    pub has_other_nodes: bool,
    pub seed: [u8; 32],
}

/// The number of shards of a relay: `turn.shards`, or one for each core that the process may run on, if
/// there are enough relay ports for each.
pub fn shard_count(turn: &config::Turn) -> usize {
    let most = usize::from(Directory::max_shards(turn.relay_ports));
    match turn.shards {
        0 => {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            cores.min(most / MIN_PORT_PAIRS_PER_SHARD).max(1)
        }
        shards => usize::from(shards).min(most),
    }
}
