//! The application state that every edge shares.

use std::net::SocketAddr;
use std::sync::Arc;

use super::change_order::ChangeOrder;
use super::health_log::HealthLogLimits;
use super::hub::Hub;
use super::settings::{LiveSettings, Settings};
use crate::bus;
use crate::metrics::Metrics;
use crate::relay;
use crate::storage::Store;
use crate::tls;

/// The running application.
pub struct App {
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
    pub bus: bus::Local,
    pub metrics: Metrics,
    pub order: ChangeOrder,
    pub health_log: HealthLogLimits,
}

impl App {
    /// The current settings. A request takes them once, so that all its decisions agree.
    pub fn settings(&self) -> Arc<Settings> {
        self.live.get()
    }
}
