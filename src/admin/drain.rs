//! `parlor drain` in the server: begins a drain and reports its progress.
//!
//! After the outcome, the server sends [`DrainProgress`] messages over the same connection. It keeps
//! the connection open until its process ends, so that the client notices the end of the process.

use std::time::Duration;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::context::Context;
use super::failure::Failure;
use super::framing::{self, MAX_RESPONSE_BYTES};
use super::messages::DrainProgress;
use super::response::Response;
use crate::config::duration;
use crate::plural::counted;

/// Interval between two progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout for the client to receive a message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Begins a drain.
pub(super) fn begin(context: &Context, limit: Duration) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let connections = server.app.hub.connections().len();
    let relays = server.app.relay.allocations();
    if !(server.drain)(limit) {
        return Err(Failure::new("the server is already draining"));
    }
    let json = json!({
        "connections": connections,
        "relays": relays,
        "timeout": limit.as_secs(),
    });
    let text = draining(connections as u64, relays as u64, limit);
    Ok(Response::new(json, text))
}

/// Describes a drain: open connections and relays, and the longest time that it may still take.
pub fn draining(connections: u64, relays: u64, left: Duration) -> String {
    let connections = counted(connections, "connection");
    let relays = counted(relays, "relay");
    let left = duration::format(left);
    format!("Draining: {connections} and {relays} left, {left} at most")
}

/// Sends the progress of the drain to a waiting client until the drain has ended.
pub(super) async fn stream_progress(
    mut connection: UnixStream,
    mut progress: watch::Receiver<Option<DrainProgress>>,
) {
    if progress.wait_for(Option::is_some).await.is_err() {
        return;
    }
    loop {
        let Some(now) = *progress.borrow_and_update() else {
            return;
        };
        let sent = framing::write(&mut connection, &now, MAX_RESPONSE_BYTES);
        if !matches!(timeout(MESSAGE_TIMEOUT, sent).await, Ok(Ok(()))) {
            return; // the client did not wait
        }
        if now.interrupted.is_some() {
            break;
        }
        let ended = progress.wait_for(|one| one.is_some_and(|one| one.interrupted.is_some()));
        if let Ok(Err(_)) = timeout(PROGRESS_INTERVAL, ended).await {
            return;
        }
    }
    if let Ok(connection) = connection.into_std() {
        // The kernel closes the connection when the process ends; the client waits for that.
        std::mem::forget(connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_connection_is_named_in_the_singular() {
        let left = Duration::from_secs(60);
        let text = draining(1, 0, left);
        assert_eq!(text, "Draining: 1 connection and 0 relays left, 1m at most");
        let text = draining(2, 1, left);
        assert_eq!(text, "Draining: 2 connections and 1 relay left, 1m at most");
    }
}
