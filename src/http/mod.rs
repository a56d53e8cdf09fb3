//! The HTTP edge: listeners, routes and WebSockets.
//!
//! Everything here is bounded: connections, headers, bodies, requests in time. A query string
//! never reaches a log, because a token may stand in it.

pub mod api;
pub mod auth;
mod counts;
mod exchange;
mod health;
mod hub;
mod origin;
mod page;
mod patience;
mod router;
mod server;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::credential::Credentials;
use crate::metrics::Metrics;
use crate::relay;
use crate::store::Store;
use crate::token::Tokens;

pub use exchange::{Error, Request, Response, json};
pub use hub::Hub;
pub use router::{Answer, Route};
pub use server::{serve, serve_metrics};

/// What every request may need.
pub struct App {
    pub config: Config,
    pub store: Store,
    pub tokens: Tokens,
    pub credentials: Credentials,
    /// Where TURN listens, over UDP and TCP alike; what ICE servers are made of.
    pub turn: Vec<SocketAddr>,
    pub api: api::State,
    pub hub: Arc<Hub>,
    pub relay: relay::Handle,
    pub metrics: Metrics,
}
