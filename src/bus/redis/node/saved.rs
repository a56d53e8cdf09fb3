//! A node that pauses: the next process continues with its identifier, as if this one had been stopped for a moment.
//!
//! The inbox keeps what other nodes send meanwhile, and the node reads on where it has paused. If the pause takes longer
//! than the lease, or Redis loses its data, the node returns as after any such fault.

use std::collections::HashMap;
use std::sync::Arc;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::state::Phase;
use super::{Node, Settings};
use crate::bus::redis::scripts::Scripts;
use crate::clock::Mono;
use crate::room::{NodeId, Place};

/// A node that has paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedNode {
    name: String,
    prefix: String,
    id: String,
    world: String,
    /// The run id of the server.
    run: String,
    /// The number of the registration.
    generation: u64,
    position: String,
    entries_read: u64,
    /// The number of the last batch from each node.
    seen: Vec<(String, u64)>,
    /// The number of the last command.
    number: u64,
    /// The number of the last batch to each node.
    numbers: Vec<(String, u64)>,
    restated: Vec<String>,
    is_uncertain: bool,
    /// The nodes that were evicted, the oldest first.
    evicted: Vec<String>,
    /// The name of the process. One that fails early leaves its state to the next one, which must not continue where that
    /// one has been.
    process: String,
}

impl Node {
    /// Renews the lease soon.
    pub fn renew(&mut self) {
        self.renewal.next = Mono::default();
    }

    /// Pauses. Nothing is sent or read from then on. `None` while something waits for Redis or for the caller: call it
    /// again.
    pub fn pause(&mut self) -> Option<SavedNode> {
        let is_renewed = self.renewal.next > Mono::default();
        let is_settled = self.claim.is_none()
            && self.controls.is_empty()
            && self.flights.is_empty()
            && self.queue.is_empty()
            && self.outputs.is_empty()
            && self.rooms.waiting.is_empty()
            && self.rooms.pending.is_empty()
            && self.rooms.until.is_none()
            && !self.rooms.is_unannounced;
        if !(self.is_available() && is_renewed && is_settled) {
            return None;
        }
        let saved = SavedNode {
            name: self.settings.name.clone(),
            prefix: self.settings.prefix.clone(),
            id: self.identity.id.to_string(),
            world: self.identity.world.clone(),
            run: self.run.clone()?,
            generation: self.inbox.generation,
            position: self.inbox.position.clone(),
            entries_read: self.inbox.entries_read,
            seen: numbers(&self.inbox.seen),
            number: self.queue.last_number(),
            numbers: numbers(self.queue.numbers()),
            restated: self.restated.iter().map(ToString::to_string).collect(),
            is_uncertain: self.rooms.is_uncertain,
            process: self.process.clone(),
            evicted: self
                .evicted
                .oldest
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        self.phase = Phase::Ended;
        Some(saved)
    }

    /// A node that continues a paused one of the same name, or a new one.
    pub fn resume(
        settings: Settings,
        scripts: Arc<Scripts>,
        seed: [u8; 32],
        saved: SavedNode,
    ) -> Node {
        let mut node = Node::new(settings, scripts, seed);
        if (&saved.name, &saved.prefix) != (&node.settings.name, &node.settings.prefix) {
            return node;
        }
        node.identity.id = saved.id.into();
        node.identity.world = saved.world;
        node.run = Some(saved.run);
        node.phase = Phase::Registered;
        node.inbox.generation = saved.generation;
        node.inbox.position = saved.position;
        node.inbox.entries_read = saved.entries_read;
        node.inbox.seen = by_node(saved.seen);
        node.queue.resume(saved.number, by_node(saved.numbers));
        node.restated = saved.restated.into_iter().map(NodeId::from).collect();
        node.rooms.is_uncertain = saved.is_uncertain;
        node.rooms.is_unannounced = false;
        for evicted in saved.evicted {
            node.evicted.insert(&evicted.into());
        }
        node.process = saved.process;
        node.claim = Some(format!("{:016x}", node.rng.random::<u64>()));
        node.is_resumed = true;
        node
    }

    /// Whether this node continues a paused one.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Awaits a user of a restored room whose node restarts.
    pub fn await_return(&mut self, room: &Arc<str>, user: &Arc<str>, place: &Place) {
        self.returns.add(room, user, place.clone());
    }
}

fn numbers(by_node: &HashMap<NodeId, u64>) -> Vec<(String, u64)> {
    let numbers = by_node.iter();
    numbers
        .map(|(node, number)| (node.to_string(), *number))
        .collect()
}

fn by_node(numbers: Vec<(String, u64)>) -> HashMap<NodeId, u64> {
    let numbers = numbers.into_iter();
    numbers
        .map(|(node, number)| (node.into(), number))
        .collect()
}
