//! Requests of this node to the others.

use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use super::calls::Replies;
use super::message;
use super::protocol::{
    ListedSession, NodeAnswers, NodeDescription, NodeRequest, NodeSessions, REPLY_TIMEOUT,
    Revocation,
};
use super::requests::Requests;
use super::tunnel::{TunnelAnswer, TunnelRequest, TunnelStream};
use crate::bus::redis::{Link, node_name};
use crate::room::{CloseCode, NodeId, Protocol};
use crate::service::{App, Ended};

/// The call number of requests without an answer; no call has it.
const UNANSWERED: u64 = 0;

/// A call that waits; dropping it ends it.
struct Waiting<'a> {
    requests: &'a Requests,
    call: u64,
}

impl App {
    /// The name of this node; `None` if there are no others.
    pub fn node_name(&self) -> Option<String> {
        let link = self.hub.link()?;
        Some(node_name(&link.id()).to_owned())
    }

    /// Asks the other nodes what they say about themselves. `None` without other nodes.
    pub async fn describe_nodes(&self) -> Option<NodeAnswers<NodeDescription>> {
        self.ask_nodes(&NodeRequest::Describe).await
    }

    /// Asks the other nodes for their sessions. `None` without other nodes.
    pub async fn sessions_elsewhere(&self) -> Option<NodeAnswers<NodeSessions>> {
        self.ask_nodes(&NodeRequest::Sessions).await
    }

    /// Asks the other nodes how much a change of this node has ended there. `None` without other nodes.
    pub async fn ended_elsewhere(&self, change: Revocation) -> Option<NodeAnswers<Ended>> {
        self.ask_nodes(&NodeRequest::Count(change)).await
    }

    /// Asks the other nodes for the protocol of a user's client; `None` if the user is not connected to any.
    pub(in crate::service) async fn protocol_elsewhere(
        &self,
        room: &str,
        user: &str,
    ) -> Option<Protocol> {
        let request = NodeRequest::Protocol {
            room: room.to_owned(),
            user: user.to_owned(),
        };
        let answers: NodeAnswers<Option<Protocol>> = self.ask_nodes(&request).await?;
        answers.answers.into_iter().find_map(|(_, found)| found)
    }

    /// Has another node ask the client of a user to mute.
    pub(in crate::service) async fn mute_elsewhere(
        &self,
        room: &str,
        user: &str,
        by: Option<&str>,
    ) {
        let request = NodeRequest::Mute {
            room: room.to_owned(),
            user: user.to_owned(),
            by: by.map(str::to_owned),
        };
        let _: Option<NodeAnswers<bool>> = self.ask_nodes(&request).await;
    }

    /// Sends a request to the other nodes, if there are any. They do not answer it.
    pub(in crate::service) fn notify_nodes(&self, request: &NodeRequest) {
        let Some(link) = self.hub.link() else {
            return;
        };
        let json = serde_json::to_vec(request).unwrap_or_default();
        if let Some(message) = message::request(UNANSWERED, &json) {
            link.tell_all(message);
        }
    }

    /// Sends a request to another node, which does not answer it.
    pub(in crate::service) fn notify_node(&self, node: &NodeId, request: &NodeRequest) {
        let Some(link) = self.hub.link() else {
            return;
        };
        let json = serde_json::to_vec(request).unwrap_or_default();
        if let Some(message) = message::request(UNANSWERED, &json) {
            link.tell(node.clone(), message);
        }
    }

    /// Ends a session of another node. `None` if that has not answered.
    pub async fn end_session_of(&self, node: &str, session: ListedSession) -> Option<Ended> {
        let link = self.hub.link()?;
        let nodes = link.nodes().borrow().clone();
        let node = nodes.iter().find(|known| known.name() == node)?.id.clone();
        let send = |bytes| link.tell(node.clone(), bytes);
        let request = NodeRequest::End(session);
        let replies = call(link, &self.hub.requests, vec![node.clone()], &request, send).await;
        let mut answers = parse(replies).answers.into_iter();
        answers.next().map(|(_, ended)| ended)
    }

    /// Passes the connection of a client that resumes a session on to the node that has the session. `None`: the session
    /// cannot be resumed.
    ///
    /// # Errors
    /// The code with which the client's connection has to be closed.
    pub async fn open_tunnel(
        &self,
        node: &NodeId,
        request: impl FnOnce(u64) -> TunnelRequest,
    ) -> Result<Option<TunnelStream>, CloseCode> {
        // The client comes again.
        const NO_ANSWER: CloseCode = CloseCode::ConnectionError;
        let tunnels = &self.hub.tunnels;
        let link = self.hub.link().ok_or(NO_ANSWER)?;
        let (number, stream) = tunnels.open(link, node).ok_or(NO_ANSWER)?;
        let request = NodeRequest::Tunnel(Box::new(request(number)));
        let turn = timeout(REPLY_TIMEOUT, tunnels.opening.acquire()).await;
        let _turn = turn.map_err(|_| NO_ANSWER)?.map_err(|_| NO_ANSWER)?;
        let send = |bytes| link.tell(node.clone(), bytes);
        let requests = &self.hub.requests;
        let replies = call(link, requests, vec![node.clone()], &request, send).await;
        let mut answers = parse::<TunnelAnswer>(replies).answers.into_iter();
        match answers.next().ok_or(NO_ANSWER)?.1 {
            TunnelAnswer::Accepted => Ok(Some(stream)),
            TunnelAnswer::Refused => Ok(None),
            TunnelAnswer::Closed(code) => Err(CloseCode::from_code(code).unwrap_or(NO_ANSWER)),
        }
    }

    /// Sends a request to the other nodes, and waits at most two seconds for their answers. `None` without other nodes.
    pub(super) async fn ask_nodes<T: DeserializeOwned>(
        &self,
        request: &NodeRequest,
    ) -> Option<NodeAnswers<T>> {
        let link = self.hub.link()?;
        let own = link.id();
        let nodes = link.nodes().borrow().clone();
        let ids = nodes.iter().map(|node| node.id.clone());
        let others = ids.filter(|node| *node != own).collect();
        let send = |bytes| link.tell_all(bytes);
        let requests = &self.hub.requests;
        Some(parse(call(link, requests, others, request, send).await))
    }
}

async fn call(
    link: &Link,
    requests: &Requests,
    nodes: Vec<NodeId>,
    request: &NodeRequest,
    send: impl FnOnce(Vec<u8>) -> bool,
) -> Replies {
    let silent = |nodes| Replies {
        silent: nodes,
        ..Replies::default()
    };
    if nodes.is_empty() {
        return Replies::default();
    }
    let call = requests.calls().begin(nodes.clone());
    let Some(call) = call else {
        return silent(nodes);
    };
    let waiting = Waiting { requests, call };
    let json = serde_json::to_vec(request).unwrap_or_default();
    let is_sent = message::request(call, &json).is_some_and(send);
    if !is_sent {
        return silent(nodes);
    }
    // Nobody waits longer than this.
    let _ = timeout_at(Instant::now() + REPLY_TIMEOUT, waiting.answered(link)).await;
    requests.calls().end(call)
}

impl Waiting<'_> {
    /// Waits until each node that is still listed has answered.
    async fn answered(&self, link: &Link) {
        let mut listed = link.nodes();
        loop {
            let mut replied = std::pin::pin!(self.requests.replied.notified());
            replied.as_mut().enable();
            if self.requests.calls().is_complete(self.call) {
                return;
            }
            tokio::select! {
                () = replied => {}
                _ = listed.changed() => {
                    let nodes = listed.borrow_and_update().clone();
                    let is_listed = |id: &NodeId| nodes.iter().any(|node| node.id == *id);
                    self.requests.calls().retain_nodes(is_listed);
                }
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.requests.calls().end(self.call);
    }
}

/// Parses the replies, sorted by the names of the nodes. A node that has answered is not silent, although an earlier
/// process of it may still be listed.
fn parse<T: DeserializeOwned>(outcome: Replies) -> NodeAnswers<T> {
    let mut answers = Vec::new();
    let mut silent = Vec::new();
    for (node, json) in outcome.replies {
        let name = node_name(&node).to_owned();
        match serde_json::from_slice(&json) {
            Ok(answer) => answers.push((name, answer)),
            Err(_) => silent.push(name),
        }
    }
    silent.extend(outcome.silent.iter().map(|node| node_name(node).to_owned()));
    silent.retain(|name| !answers.iter().any(|(answered, _)| answered == name));
    silent.sort();
    silent.dedup();
    answers.sort_by(|(one, _), (other, _)| one.cmp(other));
    NodeAnswers { answers, silent }
}
