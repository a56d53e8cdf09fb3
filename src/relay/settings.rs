//! From the configuration to what a shard's server is made with, at the start and at each reload.

use std::sync::Arc;

use crate::config::{self, RelayMode};
use crate::credential::Credentials;
use crate::rate::{Limit, PerIpLimiter};
use crate::turn::{
    Alternates, Changes, Directory, Discovery, Host, Policy, Quotas, Settings, ShardId,
};

use super::{Options, udp};

/// Cells for the rate of unauthenticated: 64 KiB of them.
const STRANGER_CELLS: usize = 8192;

/// A burst is as much as the rate gives in this many seconds.
const STRANGER_BURST: u64 = 2;

/// What may pass at once, at least; otherwise what the rate gives in a quarter of a second.
const BANDWIDTH_BURST: u64 = 64 * 1024;

/// What may change while the relay runs.
pub fn changes(turn: &config::Turn, credentials: Credentials) -> Changes {
    let rate = u64::from(turn.unauthenticated_rate);
    Changes {
        credentials,
        allowed: turn.allowed_peers.clone(),
        denied: turn.denied_peers.clone(),
        denied_ports: turn.denied_peer_ports.clone(),
        max_permissions: turn.max_permissions,
        max_channels: turn.max_channels,
        bandwidth: bandwidth(turn.bandwidth_per_allocation),
        user_bandwidth: bandwidth(turn.bandwidth_per_user),
        total_bandwidth: bandwidth(turn.bandwidth_total),
        allow_unnamed: turn.unnamed,
        unauthenticated: Arc::new(PerIpLimiter::new(
            Limit::per_second(rate, rate * STRANGER_BURST),
            STRANGER_CELLS,
        )),
        alternates: Alternates::new(turn.alternate_server.clone()),
    }
}

fn bandwidth(bits: u64) -> Limit {
    match bits {
        0 => Limit::UNLIMITED,
        bits => Limit::per_second((bits / 8).max(1), BANDWIDTH_BURST.max(bits / 8 / 4)),
    }
}

/// Returns all settings for a relay with this number of `shards` on this host.
pub fn all(
    options: Options<'_>,
    host: Arc<Host>,
    shards: ShardId,
    discovery: Discovery,
) -> Settings {
    let turn = options.turn;
    let changes = changes(turn, options.credentials);
    Settings {
        realm: turn.realm.clone(),
        credentials: changes.credentials,
        nonces: options.nonces,
        policy: Policy {
            allowed: changes.allowed,
            denied: changes.denied,
            denied_ports: changes.denied_ports,
            own: host.own_addresses(),
            listeners: host.own_listeners(),
            internal: turn.mode == RelayMode::Internal,
        },
        ports: turn.relay_ports,
        host,
        max_permissions: changes.max_permissions,
        max_channels: changes.max_channels,
        bandwidth: changes.bandwidth,
        user_bandwidth: changes.user_bandwidth,
        total_bandwidth: changes.total_bandwidth,
        // Between relayed addresses within the process, nothing is ever cut.
        dont_fragment: udp::SUPPORTS_DONT_FRAGMENT || turn.mode == RelayMode::Internal,
        allow_unnamed: changes.allow_unnamed,
        revocations: options.revocations,
        quotas: Arc::new(Quotas::new(
            options.max_allocations,
            turn.max_allocations_per_user,
            turn.max_allocations_per_address,
        )),
        unauthenticated: changes.unauthenticated,
        alternates: changes.alternates,
        discovery,
        directory: Arc::new(Directory::new(shards)),
    }
}
