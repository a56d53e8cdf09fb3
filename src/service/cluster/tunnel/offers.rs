//! Opens tunnels, and accepts those of other nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::incoming::{IncomingTunnel, MAX_WAITING, TunnelAnswer, TunnelRequest};
use super::stream::TunnelStream;
use crate::bus::redis::{Link, node_name};
use crate::clock;
use crate::room::{CloseCode, NodeId};
use crate::service::hub::Hub;
use crate::service::resume_token::{ResumeToken, node_tag};

/// Limit of the search for a node that is not listed.
const FIND_TIMEOUT: Duration = Duration::from_secs(1);
/// A node is listed at the latest this long after its registration.
const LISTING_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of the checks whether Redis answers.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl Hub {
    /// The other node that gave out the token of a session, if it is listed.
    pub async fn node_of_session(&self, token: &str) -> Option<NodeId> {
        let tag = ResumeToken::parse(token)?.node?;
        let link = self.link()?;
        if node_tag(node_name(&link.id())) == tag {
            return None;
        }
        let nodes = link.nodes().borrow().clone();
        let mut known = nodes.iter().filter(|node| node_tag(node.name()) == tag);
        if let Some(node) = known.next() {
            return Some(node.id.clone());
        }
        // The list may be two seconds old.
        let found = timeout(FIND_TIMEOUT, link.find_node(format!("{tag:016x}"))).await;
        found.ok().flatten()
    }

    /// Waits until the nodes of a tunnel cannot reach each other any more.
    pub async fn tunnel_lost(&self, node: &NodeId) {
        let Some(link) = self.link() else { return };
        let own = link.id();
        let mut nodes = link.nodes();
        // A node that has started just now is listed later.
        let until = clock::now().mono + LISTING_TIMEOUT;
        let mut was_listed = false;
        loop {
            let is_listed = nodes.borrow_and_update().iter().any(|one| one.id == *node);
            was_listed |= is_listed;
            let is_gone = !is_listed && (was_listed || until <= clock::now().mono);
            if is_gone || !link.is_available() || link.id() != own {
                return;
            }
            // A node that ends changes the list; that Redis is silent does not.
            let _ = timeout(CHECK_INTERVAL, nodes.changed()).await;
        }
    }

    /// Queues the request of another node. The receiver gets an error if there is no answer.
    pub(in crate::service) fn offer_tunnel(
        &self,
        node: &NodeId,
        request: TunnelRequest,
    ) -> oneshot::Receiver<TunnelAnswer> {
        let (sender, answer) = oneshot::channel();
        let incoming = &self.tunnels.incoming;
        let mut waiting = incoming.waiting();
        if waiting.len() < MAX_WAITING {
            waiting.push_back(IncomingTunnel {
                request,
                node: node.clone(),
                answer: sender,
            });
            incoming.arrived.notify_one();
        }
        answer
    }

    /// Waits for the next request of another node to open a tunnel.
    pub async fn next_tunnel(&self) -> IncomingTunnel {
        let incoming = &self.tunnels.incoming;
        loop {
            let oldest = incoming.waiting().pop_front();
            match oldest {
                Some(request) => return request,
                None => incoming.arrived.notified().await,
            }
        }
    }
}

impl IncomingTunnel {
    /// Whether the other node does not wait for the tunnel any more. A node that was away reads old requests, and its
    /// clients have come again meanwhile.
    pub fn is_abandoned(&self, hub: &Hub) -> bool {
        let incoming = &hub.tunnels.incoming;
        incoming.is_abandoned(&self.node, self.request.tunnel)
    }

    /// The node with the client's connection.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Opens the tunnel.
    pub fn accept(self, hub: &Hub, link: &Arc<Link>) -> TunnelStream {
        let stream = hub.tunnels.accept(link, &self.node, self.request.tunnel);
        // If nobody waits for the answer, the other end has ended, and resets the tunnel.
        let _ = self.answer.send(TunnelAnswer::Accepted);
        stream
    }

    /// Answers that the session cannot be resumed.
    pub fn refuse(self) {
        let _ = self.answer.send(TunnelAnswer::Refused);
    }

    /// Answers that the connection of the client has to be closed.
    pub fn close(self, code: CloseCode) {
        let _ = self.answer.send(TunnelAnswer::Closed(code.code()));
    }
}
