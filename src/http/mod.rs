//! The HTTP edge: listeners, routes and WebSockets.
//!
//! Everything here is bounded: connections, headers, bodies, requests in time. A query string
//! never reaches a log, because a token may stand in it.

mod exchange;
mod health;
mod origin;
mod page;
mod router;
mod server;

use crate::config::Config;
use crate::credential::Credentials;
use crate::metrics::Metrics;
use crate::relay;

pub use exchange::{Error, Request, Response, json};
pub use router::{Answer, Route};
pub use server::{serve, serve_metrics};

/// What every request may need.
pub struct App {
    pub config: Config,
    pub credentials: Credentials,
    pub relay: relay::Handle,
    pub metrics: Metrics,
}
