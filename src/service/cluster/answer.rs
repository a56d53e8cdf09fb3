//! Answers the requests of other nodes.

use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::calls::MAX_REPLY_BYTES;
use super::message;
use super::protocol::{NodeDescription, NodeRequest};
use super::requests::Incoming;
use crate::service::App;

/// Requests that are answered at the same time; others wait.
const MAX_CONCURRENT: usize = 16;

/// Answers the requests of other nodes until `shutdown`. Ends at once without other nodes.
pub(in crate::service) async fn serve(app: Arc<App>, shutdown: CancellationToken) {
    if app.hub.link().is_none() {
        return;
    }
    let mut answers = JoinSet::new();
    while let Some(request) = shutdown.run_until_cancelled(app.hub.requests.next()).await {
        if answers.len() >= MAX_CONCURRENT {
            answers.join_next().await;
        }
        answers.spawn(answer(app.clone(), request));
        while answers.try_join_next().is_some() {}
    }
}

/// Answers one request. One of a later version gets no answer.
async fn answer(app: Arc<App>, request: Incoming) {
    let Ok(parsed) = serde_json::from_slice(&request.json) else {
        return;
    };
    match parsed {
        NodeRequest::Describe => reply(&app, &request, &app.describe()),
    }
}

fn reply(app: &App, request: &Incoming, answer: &impl Serialize) {
    let json = serde_json::to_vec(answer).unwrap_or_default();
    let (Some(link), true) = (app.hub.link(), json.len() <= MAX_REPLY_BYTES) else {
        return;
    };
    for message in message::reply(request.call, &json) {
        link.tell(request.node.clone(), message);
    }
}

impl App {
    /// Describes this node for an admin.
    pub fn describe(&self) -> NodeDescription {
        NodeDescription {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.start_time(),
            connections: self.usage().1 as u64,
            relays: self.relay.allocations() as u64,
            relay_hosts: self.relay_hosts(),
            lag: self.hub.link().map_or(0, |link| link.lag()),
            draining: self.is_draining(),
        }
    }

    fn relay_hosts(&self) -> Vec<String> {
        if let Some(host) = &self.settings().config.turn.public_host {
            return vec![host.clone()];
        }
        let host = self.relay.current_addresses().host;
        let offered = host.offered().map(|(_, outside)| outside.to_string());
        offered.collect()
    }
}
