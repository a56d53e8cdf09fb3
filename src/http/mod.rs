//! The HTTP edge: listeners, routes and WebSockets.
//!
//! Everything here is bounded: connections, headers, bodies, requests in time. A query string
//! never reaches a log, because a token may stand in it.

mod accept_header;
mod acme;
mod admin;
pub mod api;
pub mod auth;
mod base_path;
mod connection;
mod connection_limit;
mod cors;
mod door;
mod draining;
mod error;
mod forwarded;
mod frame_budget;
mod head;
mod health;
mod hsts;
mod hub;
mod moderation;
mod openapi;
mod page;
mod redirect;
mod request;
mod response;
mod router;
mod server;
mod settings;
mod signaling_metrics;
mod stream;
mod write_timeout;
mod ws;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::metrics::Metrics;
use crate::relay;
use crate::storage::Store;
use crate::tls;

pub use admin::Ended;
pub use error::Error;
pub use hub::{ConnectionInfo, Hub};
pub use request::Request;
pub use response::{Response, json};
pub use router::{ResponseFuture, Route};
pub use server::{Listeners, serve, serve_metrics};
pub use settings::{Live, Settings};

/// What every request may need.
pub struct App {
    pub live: Live,
    pub store: Store,
    /// Where TURN listens, over UDP and TCP alike; what ICE servers are made of.
    pub turn: Vec<SocketAddr>,
    /// Where TURN over TLS does, alone.
    pub turn_tls: Vec<SocketAddr>,
    /// Where it does together with HTTP.
    pub https: Vec<SocketAddr>,
    /// What handshakes are answered with, where TLS is spoken.
    pub certificate: Option<Arc<tls::CertResolver>>,
    pub api: api::State,
    pub hub: Arc<Hub>,
    pub relay: relay::Handle,
    pub metrics: Metrics,
}

impl App {
    /// The settings that hold now; to be asked again for each request.
    pub fn settings(&self) -> Arc<Settings> {
        self.live.get()
    }
}
