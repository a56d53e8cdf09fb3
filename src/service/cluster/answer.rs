//! Answers the requests of other nodes.

use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::calls::MAX_REPLY_BYTES;
use super::message;
use super::protocol::{
    ListedConnection, ListedSession, NodeDescription, NodeRequest, NodeSessions, REPLY_TIMEOUT,
    Revocation,
};
use super::requests::Incoming;
use crate::credential::Revocations;
use crate::room::CloseCode;
use crate::service::{App, Ended};

/// Requests that are answered at the same time; others wait.
const MAX_CONCURRENT: usize = 64;

/// Answers the requests of other nodes until `shutdown`. Ends at once without other nodes.
pub(in crate::service) async fn serve(
    app: Arc<App>,
    revocations: Arc<Revocations>,
    shutdown: CancellationToken,
) {
    if app.hub.link().is_none() {
        return;
    }
    let mut answers = JoinSet::new();
    while let Some(request) = shutdown.run_until_cancelled(app.hub.requests.next()).await {
        if answers.len() >= MAX_CONCURRENT {
            answers.join_next().await;
        }
        answers.spawn(answer(app.clone(), revocations.clone(), request));
        while answers.try_join_next().is_some() {}
    }
}

/// Answers one request. One of a later version gets no answer.
async fn answer(app: Arc<App>, revocations: Arc<Revocations>, request: Incoming) {
    let Ok(parsed) = serde_json::from_slice(&request.json) else {
        return;
    };
    match parsed {
        NodeRequest::Describe => reply(&app, &request, &app.describe()),
        NodeRequest::Sessions => reply(&app, &request, &app.listed_sessions().await),
        NodeRequest::End(session) => reply(&app, &request, &app.end_session(&session).await),
        NodeRequest::Tunnel(tunnel) => {
            let offered = app.hub.offer_tunnel(&request.node, *tunnel);
            if let Ok(Ok(answer)) = timeout(REPLY_TIMEOUT, offered).await {
                reply(&app, &request, &answer);
            }
        }
        NodeRequest::Protocol { room, user } => {
            reply(&app, &request, &app.hub.protocol_of(&room, &user));
        }
        NodeRequest::Mute { room, user, by } => {
            reply(&app, &request, &app.hub.mute(&room, &user, by.as_deref()));
        }
        NodeRequest::PathChanges(hints) => {
            app.hub.send_path_hints(hints);
        }
        NodeRequest::Reports(reports) => {
            for report in &reports {
                app.record_user_report(report);
            }
        }
        NodeRequest::Quality { room, links } => app.hub.send_quality(&room, &links),
        NodeRequest::Count(change) => {
            let ended = timeout(REPLY_TIMEOUT, count(&app, &revocations, &change)).await;
            if let Ok(ended) = ended {
                reply(&app, &request, &ended);
            }
        }
    }
}

/// Waits until a change of another node has taken effect, and returns how much it ended here.
async fn count(app: &App, revocations: &Revocations, change: &Revocation) -> Ended {
    let ended = &app.hub.ended;
    loop {
        let mut applied = std::pin::pin!(ended.applied.notified());
        applied.as_mut().enable();
        // A change that is listed while nobody applies changes has taken effect as a whole.
        let guard = app.order.shared().await;
        if change.is_applied(revocations) {
            break;
        }
        drop(guard);
        app.hub.changes.announce();
        applied.await;
    }
    let (connections, relays) = ended.take(change).await;
    Ended {
        connections,
        relays,
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

    /// The sessions of this node.
    pub async fn listed_sessions(&self) -> NodeSessions {
        let relays = self.relay.sessions().await;
        let connections = self.hub.connections().into_iter();
        let connections = connections.map(|one| ListedConnection {
            user: one.user.to_string(),
            room: one.room.to_string(),
            since: one.since,
        });
        NodeSessions {
            connections: connections.collect(),
            relays,
        }
    }

    /// Ends a session of this node. Its client may return.
    pub async fn end_session(&self, session: &ListedSession) -> Ended {
        let mut ended = Ended::default();
        match session {
            ListedSession::Connection { user, room } => {
                let is_closed = self.hub.close(room, user, CloseCode::Removed);
                ended.connections = usize::from(is_closed);
            }
            ListedSession::Relay(session) => {
                ended.relays = self.relay.end_session(session).count().await;
            }
        }
        ended
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

#[cfg(test)]
mod tests;
