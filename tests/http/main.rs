//! HTTP and signaling: the API, tokens, WebSockets, limits of connections, the page.

mod api;
mod connections;
mod cors;
mod page;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod wire;
