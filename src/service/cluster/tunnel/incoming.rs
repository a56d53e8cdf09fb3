//! Tunnels that other nodes want to open.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use crate::room::NodeId;
use crate::token::Claims;

/// Tunnels that wait; further ones are refused.
pub(super) const MAX_WAITING: usize = 1024;

/// A client at another node that resumes a session of this one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TunnelRequest {
    /// The number of the tunnel.
    pub tunnel: u64,
    pub room: String,
    /// The claims of the client's token, which the other node has checked.
    pub claims: Claims,
    /// Whether parlor issued the token.
    pub is_own_token: bool,
    /// The host of the client's request, for URLs of ICE servers.
    pub host: String,
    /// The token of the session.
    pub session: String,
    /// The number of the last frame that the client has received.
    pub seq: u64,
}

/// The answer to a [`TunnelRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::service) enum TunnelAnswer {
    Accepted,
    /// The session cannot be resumed: the user has to join.
    Refused,
    /// The client's connection is closed with this code.
    Closed(u16),
}

/// A request to open a tunnel. Dropping it answers nothing: the client comes again.
pub struct IncomingTunnel {
    pub request: TunnelRequest,
    pub(super) node: NodeId,
    pub(super) answer: oneshot::Sender<TunnelAnswer>,
}

/// The requests that wait.
#[derive(Default)]
pub(super) struct Incoming {
    waiting: Mutex<VecDeque<IncomingTunnel>>,
    pub(super) arrived: Notify,
    /// The last tunnels that other nodes gave up before they were open.
    abandoned: Mutex<VecDeque<(NodeId, u64)>>,
}

impl Incoming {
    pub(super) fn waiting(&self) -> MutexGuard<'_, VecDeque<IncomingTunnel>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a node gave up a tunnel.
    pub(super) fn abandon(&self, node: &NodeId, tunnel: u64) {
        let mut abandoned = self.abandoned();
        if abandoned.len() >= MAX_WAITING {
            abandoned.pop_front();
        }
        abandoned.push_back((node.clone(), tunnel));
    }

    /// Whether a node gave up a tunnel. Forgets it.
    pub(super) fn is_abandoned(&self, node: &NodeId, tunnel: u64) -> bool {
        let mut abandoned = self.abandoned();
        let is_it = |one: &(NodeId, u64)| one.0 == *node && one.1 == tunnel;
        let found = abandoned.iter().position(is_it);
        found.is_some_and(|index| abandoned.remove(index).is_some())
    }

    fn abandoned(&self) -> MutexGuard<'_, VecDeque<(NodeId, u64)>> {
        self.abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
