//! The HTTP edge: listeners, routes and WebSockets.
//!
//! Everything here is bounded: connections, headers, bodies, requests in time. A query string
//! never reaches a log, because a token may stand in it.

mod accept_header;
mod acme_challenge;
mod api;
mod auth;
mod base_path;
mod connection;
mod cors;
mod draining;
mod error;
mod forwarded;
mod frame_budget;
mod health;
mod hsts;
mod openapi;
mod page;
mod page_policy;
mod redirect;
mod request;
mod request_head;
mod request_service;
mod response;
mod route;
mod router;
mod server;
mod settings;
mod state;
mod write_timeout;
mod ws;

pub use error::Error;
pub use request::Request;
pub use response::{Response, json};
pub use server::{Listeners, serve, serve_metrics};
pub use state::State;
