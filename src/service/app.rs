//! The application state that every edge shares.

use std::net::SocketAddr;
use std::sync::Arc;

use super::change_order::ChangeOrder;
use super::health_log::HealthLogLimits;
use super::hub::Hub;
use super::issuer_keys::IssuerKeys;
use super::redis_health::RedisHealth;
use super::relay_nodes::RelayNodes;
use super::settings::{LiveSettings, Settings};
use crate::bus;
use crate::clock::{self, Now};
use crate::metrics::Metrics;
use crate::relay;
use crate::storage::Store;
use crate::tls;

/// A larger difference means that the wall clock was set after the start.
const MAX_ROUNDING_SECONDS: u64 = 2;

/// The running application.
pub struct App {
    /// Start time of the process.
    pub started: Now,
    pub live: LiveSettings,
    pub store: Store,
    /// Addresses of TURN over UDP and TCP, from which the ICE servers are derived.
    pub turn: Vec<SocketAddr>,
    /// Addresses of TURN over TLS alone.
    pub turn_tls: Vec<SocketAddr>,
    /// Addresses that serve HTTPS and TURN over TLS on one port.
    pub https: Vec<SocketAddr>,
    /// The certificate for TLS handshakes; `None` if TLS is off.
    pub certificate: Option<Arc<tls::CertResolver>>,
    pub hub: Arc<Hub>,
    pub relay: relay::Handle,
    /// `None` if this node is the only one.
    pub relay_nodes: Option<RelayNodes>,
    pub bus: bus::Local,
    pub metrics: Metrics,
    pub order: ChangeOrder,
    pub health_log: HealthLogLimits,
    pub redis_health: RedisHealth,
    /// `None` without `auth.jwks_url`.
    pub issuer_keys: Option<Arc<IssuerKeys>>,
}

impl App {
    /// The current settings. A request takes them once, so that all its decisions agree.
    pub fn settings(&self) -> Arc<Settings> {
        self.live.get()
    }

    /// The start time in Unix seconds, by the current setting of the clock.
    pub fn start_time(&self) -> u64 {
        let now = clock::now();
        let passed = now.mono.since(self.started.mono).as_secs();
        let by_this_clock = now.unix.saturating_sub(passed);
        if by_this_clock.abs_diff(self.started.unix) > MAX_ROUNDING_SECONDS {
            by_this_clock
        } else {
            self.started.unix
        }
    }
}
