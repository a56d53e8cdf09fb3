//! The configuration of a server.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::credential::{Credentials, Revocations};
use crate::net::PortRange;
use crate::rate::{Limit, PerIpLimiter};

use super::room_key::RoomKey;
use super::{Alternates, Directory, Discovery, Host, Nonces, Policy, Quotas, RoomRelays, Traffic};

/// The configuration that a server is created with. Shards share what stands behind an `Arc`.
#[derive(Clone)]
pub struct Config {
    pub realm: String,
    pub nonces: Nonces,
    /// Whether relayed addresses are virtual: clients reach clients of this relay only.
    pub internal: bool,
    /// The ports of relayed addresses.
    pub ports: PortRange,
    pub host: Arc<Host>,
    /// Whether the caller can send an IP packet that must not be fragmented.
    pub dont_fragment: bool,
    pub revocations: Arc<Revocations>,
    pub quotas: Arc<Quotas>,
    pub discovery: Discovery,
    pub directory: Arc<Directory>,
    /// The relays of rooms, if there are several servers.
    pub room_relays: Option<Arc<RoomRelays>>,
    pub settings: Settings,
}

/// The settings that [`Server::reconfigure`](super::Server::reconfigure) replaces while allocations
/// exist.
#[derive(Clone)]
pub struct Settings {
    pub credentials: Credentials,
    /// Peers that are allowed although they are denied by default.
    pub allowed_peers: Vec<IpNet>,
    pub denied_peers: Vec<IpNet>,
    /// Denied ports of peers; relayed addresses of this relay are exempt.
    pub denied_peer_ports: Vec<PortRange>,
    /// Maximum number of permissions of an allocation.
    pub max_permissions: usize,
    /// Maximum number of channels of an allocation.
    pub max_channels: usize,
    /// The application data that allocations carry.
    pub traffic: Traffic,
    /// Whether the quality of links is measured, and dead paths are noticed.
    pub quality: bool,
    /// Bytes of one allocation, in each direction.
    pub bandwidth: Limit,
    /// Bytes of all allocations of one user, in each direction.
    pub user_bandwidth: Limit,
    /// Bytes of all allocations, in each direction.
    pub total_bandwidth: Limit,
    /// Whether a credential without a user may allocate.
    pub allow_anonymous: bool,
    /// Whether an allocation ends when its credential expires.
    pub end_at_expiry: bool,
    /// Whether a client reaches clients of its own room only, and a client without a room only clients
    /// without one. Peers outside this relay are not concerned.
    pub same_room: bool,
    /// Peers that a user reaches although the user has not had them in the last ten minutes.
    pub new_peers: Limit,
    /// The rate of responses to unauthenticated requests.
    pub unauthenticated: Arc<PerIpLimiter>,
    pub alternates: Alternates,
}

impl Config {
    /// Returns the peer policy: the settings' rules, and the addresses of this host.
    pub fn policy(&self) -> Policy {
        Policy {
            allowed: self.settings.allowed_peers.clone(),
            denied: self.settings.denied_peers.clone(),
            denied_ports: self.settings.denied_peer_ports.clone(),
            own: self.host.own_addresses(),
            listeners: self.host.own_listeners(),
            internal: self.internal,
        }
    }

    /// Returns whether the scope lets a client with the key `room` reach `peer`. An address that is
    /// no relayed address of this relay is in every scope.
    pub(super) fn is_in_scope(&self, room: RoomKey, peer: SocketAddr) -> bool {
        !self.settings.same_room
            || self
                .directory
                .room_of(peer)
                .is_none_or(|other| other == room)
    }
}
