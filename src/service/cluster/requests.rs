//! Requests to other nodes that wait for replies, and requests of other nodes that wait for an answer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::calls::Calls;
use super::message::{self, Message};
use crate::clock;
use crate::room::NodeId;

/// Requests of other nodes that wait; further ones are dropped.
const MAX_INCOMING: usize = 256;

/// Calls of this node, and requests that it has yet to answer.
#[derive(Debug)]
pub(in crate::service) struct Requests {
    calls: Mutex<Calls>,
    incoming: Mutex<VecDeque<Incoming>>,
    /// A reply has arrived.
    pub(super) replied: Notify,
    /// A request has arrived.
    arrived: Notify,
}

/// A request of another node.
#[derive(Debug)]
pub(super) struct Incoming {
    pub node: NodeId,
    pub call: u64,
    pub json: Vec<u8>,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            // A reply to an earlier process of this node, which may have had the same identifier, answers no call.
            calls: Mutex::new(Calls::after(clock::now().mono.0)),
            incoming: Mutex::default(),
            replied: Notify::default(),
            arrived: Notify::default(),
        }
    }
}

impl Requests {
    /// Handles a message of another node. One of another kind or version is ignored.
    pub(in crate::service) fn receive(&self, node: &NodeId, bytes: &[u8]) {
        match message::parse(bytes) {
            Some(Message::Reply(part)) => {
                self.calls().receive(node, &part);
                self.replied.notify_waiters();
            }
            Some(Message::Request { call, json }) => {
                let mut incoming = self.incoming();
                if incoming.len() < MAX_INCOMING {
                    incoming.push_back(Incoming {
                        node: node.clone(),
                        call,
                        json: json.to_vec(),
                    });
                    self.arrived.notify_one();
                }
            }
            None => {}
        }
    }

    /// Waits for the next request of another node.
    pub(super) async fn next(&self) -> Incoming {
        loop {
            let oldest = self.incoming().pop_front();
            match oldest {
                Some(request) => return request,
                None => self.arrived.notified().await,
            }
        }
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn incoming(&self) -> MutexGuard<'_, VecDeque<Incoming>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
