//! Entries of a node's inbox.

use std::time::Duration;

use redis::{Cmd, Value};

use super::state::Phase;
use super::{Node, Output};
use crate::bus::redis::inbox::{self, InboxEntry};
use crate::bus::redis::records;
use crate::room::rule::{Rule, applies};
use crate::room::{NodeId, RosterEvent};

impl Node {
    /// Returns the command that reads at most `count` entries of the inbox, and a number for the reply. It waits
    /// for an entry for `block`, or not at all.
    pub fn read_command(&self, count: usize, block: Option<Duration>) -> Option<(u64, Cmd)> {
        if self.phase != Phase::Registered || self.claim.is_some() {
            return None;
        }
        let read = self.identity.read(&self.inbox.position, count, block);
        Some((self.inbox.generation, read))
    }

    /// Handles entries of the inbox.
    pub fn handle_entries(&mut self, generation: u64, reply: Value) {
        if generation != self.inbox.generation || self.phase != Phase::Registered {
            return;
        }
        for (id, entry) in inbox::parse(reply) {
            self.inbox.position = id;
            self.inbox.entries_read += 1;
            self.handle_entry(entry);
        }
    }

    fn handle_entry(&mut self, entry: InboxEntry) {
        match entry {
            InboxEntry::Registered => {}
            InboxEntry::Unknown => self.counts.entries_unknown += 1,
            InboxEntry::Message { node, bytes } => {
                self.outputs.push_back(Output::Message { node, bytes });
            }
            InboxEntry::AllRestated { node } => self.node_restated(node),
            InboxEntry::Messages {
                node,
                number,
                batch,
            } => self.receive(node, number, batch),
            InboxEntry::Roster { room, event } => {
                let event = self.without_evicted(event);
                self.returns.learn(&room, &event);
                let is_snapshot = matches!(event, RosterEvent::Snapshot { .. });
                self.outputs.push_back(Output::Roster {
                    room: room.clone(),
                    event,
                });
                if is_snapshot && self.rooms.until.is_some() && !self.restated.is_empty() {
                    self.outputs.push_back(Output::NodesRestated {
                        room: Some(room),
                        nodes: self.restated.iter().cloned().collect(),
                    });
                }
            }
        }
    }

    /// Removes the members of nodes from an event whose departure this node has announced before: they must not
    /// return as if nothing had happened. Evicts these nodes, so that they enter anew.
    fn without_evicted(&mut self, mut event: RosterEvent) -> RosterEvent {
        if let RosterEvent::NodeGone { node, .. } = &event {
            self.forget_node(&node.clone());
            return event;
        }
        let mut found = Vec::new();
        let mut is_evicted = |node: &NodeId| {
            let is_evicted = self.evicted.contains(node) && applies(Rule::EvictedNodesStayAway);
            if is_evicted {
                found.push(node.clone());
            }
            is_evicted
        };
        match &mut event {
            RosterEvent::Entered { place, roster, .. } => {
                if place.as_ref().is_some_and(|place| is_evicted(&place.node)) {
                    *place = None;
                }
                if let Some(roster) = roster {
                    roster.retain(|entry| {
                        entry.awaited_since.is_some() || !is_evicted(&entry.place.node)
                    });
                }
            }
            RosterEvent::Snapshot { roster, .. } => {
                roster.retain(|entry| {
                    entry.awaited_since.is_some() || !is_evicted(&entry.place.node)
                });
            }
            RosterEvent::Restated {
                node,
                members,
                ended,
                ..
            } => {
                if is_evicted(node) {
                    ended.extend(members.drain(..).map(|entry| entry.user));
                }
            }
            RosterEvent::Left { .. }
            | RosterEvent::Described { .. }
            | RosterEvent::Suspended { .. }
            | RosterEvent::AwaitedLeft { .. }
            | RosterEvent::NodeGone { .. }
            | RosterEvent::Refused { .. } => {}
        }
        for node in found {
            self.evict(node, "any");
        }
        event
    }

    fn receive(&mut self, node: NodeId, number: u64, batch: Vec<u8>) {
        if self.evicted.contains(&node) {
            return;
        }
        let seen = self.inbox.seen.entry(node.clone()).or_default();
        if number <= *seen && applies(Rule::MessagesAreNumbered) {
            self.counts.batches_repeated += 1;
            return;
        }
        self.counts.batches_lost += number.saturating_sub(*seen + 1);
        *seen = number;
        let frames = records::read(batch);
        self.counts.frames_received += frames.len() as u64;
        let frames = frames.into_iter();
        self.outputs
            .extend(frames.map(|(room, frame)| Output::Frame {
                room,
                node: node.clone(),
                frame,
            }));
    }

    fn node_restated(&mut self, node: NodeId) {
        self.restated.insert(node.clone());
        if self.rooms.until.is_some() && applies(Rule::UnconfirmedMembersLeave) {
            self.outputs.push_back(Output::NodesRestated {
                room: None,
                nodes: vec![node],
            });
        }
    }

    fn forget_node(&mut self, node: &NodeId) {
        self.evicted.insert(node);
        self.inbox.seen.remove(node);
        self.queue.forget(node);
    }
}
