//! The tunnels of a node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

use super::incoming::Incoming;
use super::message::{Body, End, Message};
use super::stream::{Send, Shared, TunnelControl, TunnelStream};
use crate::bus::redis::Link;
use crate::room::{CloseCode, NodeId};

/// Tunnels that wait for an answer at the same time; others wait for their turn.
const MAX_OPENING: usize = 32;

/// The node at the other end, the end here, and the number of the tunnel.
type Key = (NodeId, End, u64);

/// The tunnels that end at this node, and those that other nodes want to open.
pub(in crate::service) struct Tunnels {
    ends: Mutex<HashMap<Key, Arc<Shared>>>,
    pub(super) incoming: Incoming,
    /// Limits the tunnels that wait for an answer.
    pub(in crate::service) opening: Semaphore,
}

impl Default for Tunnels {
    fn default() -> Tunnels {
        Tunnels {
            ends: Mutex::default(),
            incoming: Incoming::default(),
            opening: Semaphore::new(MAX_OPENING),
        }
    }
}

impl Tunnels {
    /// Handles a message of another node. One of another kind or version is ignored.
    pub(in crate::service) fn receive(&self, node: &NodeId, bytes: &[u8], link: &Link) {
        let Some(message) = Message::parse(bytes) else {
            return;
        };
        let key = (node.clone(), message.to, message.tunnel);
        let end = self.ends().get(&key).cloned();
        match end {
            Some(end) => end.receive(message.number, message.body),
            None => {
                if (message.to, message.body) == (End::Acceptor, Body::Reset) {
                    self.incoming.abandon(node, message.tunnel);
                }
                let refusal = message.refusal();
                refusal.map(|reset| link.tell(node.clone(), reset.to_bytes()));
            }
        }
    }

    /// Opens the end of a tunnel with a new number, and returns both.
    pub(in crate::service) fn open(
        self: &Arc<Tunnels>,
        link: &Arc<Link>,
        node: &NodeId,
    ) -> Option<(u64, TunnelStream)> {
        let mut number = [0; 8];
        SystemRandom::new().fill(&mut number).ok()?;
        let number = u64::from_be_bytes(number);
        let stream = self.register(End::Opener, number, node, send_by(link, node));
        Some((number, stream))
    }

    /// Opens the other end of a tunnel.
    pub(super) fn accept(
        self: &Arc<Tunnels>,
        link: &Arc<Link>,
        node: &NodeId,
        tunnel: u64,
    ) -> TunnelStream {
        self.register(End::Acceptor, tunnel, node, send_by(link, node))
    }

    pub(super) fn register(
        self: &Arc<Tunnels>,
        end: End,
        tunnel: u64,
        node: &NodeId,
        send: Send,
    ) -> TunnelStream {
        let key = (node.clone(), end, tunnel);
        let shared = Shared::new(end, tunnel, send);
        self.ends().insert(key.clone(), shared.clone());
        let tunnels = self.clone();
        TunnelStream::new(shared, move || {
            tunnels.ends().remove(&key);
        })
    }

    /// Closes the connections of clients whose sessions are on other nodes.
    pub(in crate::service) fn close_clients(&self, code: CloseCode) {
        let ends: Vec<Arc<Shared>> = {
            let ends = self.ends();
            let opened = ends.iter().filter(|((_, end, _), _)| *end == End::Opener);
            opened.map(|(_, shared)| shared.clone()).collect()
        };
        for shared in ends {
            TunnelControl::of(shared).close(code);
        }
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<Key, Arc<Shared>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send_by(link: &Arc<Link>, node: &NodeId) -> Send {
    let (link, node) = (link.clone(), node.clone());
    Box::new(move |bytes| link.tell(node.clone(), bytes))
}
