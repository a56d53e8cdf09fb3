//! The configuration of the shards' servers, at startup and at each reload.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, QualityMode, RelayMode, RelayScope, TrafficMode};
use crate::credential::Credentials;
use crate::rate::{Limit, PerIpLimiter};
use crate::turn::{
    Alternates, Config, Directory, Discovery, Host, Quotas, Settings, ShardId, Traffic,
};

use super::options::Options;
use super::udp;

/// Limiters for unauthenticated requests: 64 KiB of them.
const UNAUTHENTICATED_LIMITERS: usize = 8192;

/// The burst of unauthenticated requests, in seconds of the rate.
const UNAUTHENTICATED_BURST_SECONDS: u64 = 2;

/// The minimum burst of a bandwidth limit. Higher rates have a burst of a quarter of a second.
const MIN_BANDWIDTH_BURST_BYTES: u64 = 64 * 1024;

/// Returns the settings that a reload can change.
pub(super) fn settings(turn: &config::Turn, credentials: Credentials) -> Settings {
    let rate = u64::from(turn.unauthenticated_rate);
    Settings {
        credentials,
        allowed_peers: turn.allowed_peers.clone(),
        denied_peers: turn.denied_peers.clone(),
        denied_peer_ports: turn.denied_peer_ports.clone(),
        max_permissions: turn.max_permissions,
        max_channels: turn.max_channels,
        bandwidth: bandwidth(turn.bandwidth_per_allocation),
        user_bandwidth: bandwidth(turn.bandwidth_per_user),
        total_bandwidth: bandwidth(turn.bandwidth_total),
        allow_anonymous: turn.allow_anonymous,
        end_at_expiry: turn.end_at_expiry,
        quality: turn.quality == QualityMode::On,
        traffic: match turn.traffic {
            TrafficMode::Any => Traffic::Any,
            TrafficMode::Webrtc => Traffic::Webrtc,
            TrafficMode::Rooms => Traffic::Rooms,
        },
        same_room: turn.scope == RelayScope::Room,
        new_peers: new_peers(turn.new_peers_per_minute),
        unauthenticated: Arc::new(PerIpLimiter::new(
            Limit::per_second(rate, rate * UNAUTHENTICATED_BURST_SECONDS),
            UNAUTHENTICATED_LIMITERS,
        )),
        alternates: Alternates::new(turn.alternate_server.clone()),
    }
}

fn new_peers(per_minute: u32) -> Limit {
    match per_minute {
        0 => Limit::UNLIMITED,
        peers => Limit::every(Duration::from_secs(60) / peers, peers.into()),
    }
}

fn bandwidth(bits: u64) -> Limit {
    match bits {
        0 => Limit::UNLIMITED,
        bits => Limit::per_second(
            (bits / 8).max(1),
            MIN_BANDWIDTH_BURST_BYTES.max(bits / 8 / 4),
        ),
    }
}

/// Returns the configuration of the servers of a relay with this number of `shards` on this host.
pub(super) fn config(
    options: Options<'_>,
    host: Arc<Host>,
    shards: ShardId,
    discovery: Discovery,
) -> Config {
    let turn = options.turn;
    let internal = turn.mode == RelayMode::Internal;
    Config {
        realm: turn.realm.clone(),
        nonces: options.nonces,
        internal,
        ports: turn.relay_ports,
        host,
        // Data between relayed addresses within the process is never fragmented.
        dont_fragment: udp::SUPPORTS_DONT_FRAGMENT || internal,
        revocations: options.revocations,
        quotas: Arc::new(Quotas::new(
            options.max_allocations,
            turn.max_allocations_per_user,
            turn.max_allocations_per_address,
        )),
        discovery,
        directory: Arc::new(Directory::new(shards)),
        room_relays: options.has_other_nodes.then(Arc::default),
        settings: settings(turn, options.credentials),
    }
}
