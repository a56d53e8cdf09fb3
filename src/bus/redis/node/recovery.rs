//! How a node registers, and returns after Redis lost the rosters or other nodes evicted it.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use redis::{Cmd, Value};

use super::state::{Control, Flight, Phase, Renewal};
use super::{MAX_RESTATES, MAX_RESTATING, Node, Output, RESTATE_JITTER_MS, UNCONFIRMED_TIMEOUT};
use crate::bus::redis::inbox::{array, text};
use crate::bus::redis::scripts::Script;
use crate::clock::Mono;
use crate::room::NodeId;
use crate::room::rule::{Rule, applies};

impl Node {
    pub(super) fn registered(&mut self, reply: Value, sent: Mono, now: Mono) {
        let mut reply = array(reply).into_iter();
        let Some(world) = reply.next().and_then(text) else {
            self.is_broken = true;
            return;
        };
        let restated = reply.next().map(array).unwrap_or_default();
        let restated = restated.into_iter().filter_map(text).map(NodeId::from);
        self.restated = restated.collect();
        self.record_time(reply.next(), sent);
        self.identity.world = world;
        self.phase = Phase::Registered;
        self.listing.version.clear();
        self.listing.leased_until = Some(sent + self.settings.lease);
        self.inbox.position = "0-0".to_owned();
        self.renewal = Renewal {
            next: now,
            ..Renewal::default()
        };
        self.rooms.is_uncertain = false;
        self.rooms.from = now + Duration::from_millis(self.rng.random_range(0..RESTATE_JITTER_MS));
        if self.rooms.until.is_some() {
            self.rooms.until = Some(now + UNCONFIRMED_TIMEOUT);
        }
    }

    pub(super) fn renewed(&mut self, reply: Value, entries_read: u64, sent: Mono, now: Mono) {
        let mut reply = array(reply).into_iter();
        let Some(Value::Int(read)) = reply.next() else {
            self.is_broken = true;
            return;
        };
        let read = read as u64;
        if let Some(process) = self.claim.take() {
            self.process = process;
        }
        self.listing.leased_until = Some(sent + self.settings.lease);
        if read > entries_read && applies(Rule::InboxIsCounted) {
            self.inbox.entries_read += read - entries_read;
            self.counts.inbox_overruns += 1;
            self.rooms.is_uncertain = true;
            self.outputs.push_back(Output::EventsLost);
        }
        let mut names = || {
            let names = reply.next().map(array).unwrap_or_default();
            names.into_iter().filter_map(text).collect::<Vec<String>>()
        };
        let (expired, evicting, old) = (names(), names(), names());
        self.renewed_listing(reply, sent);
        for list in old {
            self.clean(list);
        }
        if self.is_steady(now) {
            self.evict_all(expired, "expired");
            self.evict_all(evicting, "any");
        }
    }

    /// Removes rosters of an earlier world, unless this is being done.
    fn clean(&mut self, list: String) {
        let control = Control::Clean { list: list.clone() };
        let flight = Flight::Clean { list };
        if !self.controls.contains(&control) && !self.flights.contains(&flight) {
            self.controls.push_back(control);
        }
    }

    /// Records a renewal. Returns whether none was late for a whole lease: a node that was itself late cannot know
    /// whether the others were.
    fn is_steady(&mut self, now: Mono) -> bool {
        let lease = self.settings.lease;
        let last = self.renewal.last.replace(now);
        if last.is_none_or(|last| now.since(last) > lease / 2) {
            self.renewal.steady_since = Some(now);
        }
        let since = self.renewal.steady_since.unwrap_or(now);
        now.since(since) >= lease
    }

    fn evict_all(&mut self, nodes: Vec<String>, condition: &'static str) {
        for node in nodes {
            if *node != *self.identity.id {
                self.evict(node.into(), condition);
            }
        }
    }

    /// Redis is empty, or another server answers.
    pub(super) fn lose_roster(&mut self) {
        self.counts.rosters_lost += 1;
        self.begin_anew();
        self.rooms.until = Some(Mono(u64::MAX));
        if applies(Rule::LostRostersAreRestated) {
            self.outputs.push_back(Output::RosterLost);
            self.rooms.is_unvisited = true;
        }
    }

    /// Other nodes evicted this one.
    pub(super) fn fence(&mut self) {
        self.counts.evictions += 1;
        self.begin_anew();
        if applies(Rule::EvictedNodesEnterAnew) {
            self.identity.id = self.new_id();
            self.queue.restart_numbers();
            self.inbox.seen.clear();
        }
        self.outputs.push_back(Output::Fenced {
            node: self.identity.id.clone(),
        });
        self.rooms.is_unvisited = true;
    }

    /// Forgets everything that is about the previous roster.
    pub(super) fn begin_anew(&mut self) {
        self.phase = Phase::Unregistered;
        self.claim = None;
        self.process.clear();
        self.listing.leased_until = None;
        self.queue.clear();
        let calls = self.controls.drain(..).filter_map(|control| match control {
            Control::Call { ticket, .. } => Some(ticket),
            _ => None,
        });
        let answers = calls.map(|ticket| Output::Answer {
            ticket,
            value: None,
        });
        self.outputs.extend(answers);
        for flight in &mut self.flights {
            if let Flight::Call { ticket } = *flight {
                let value = None;
                self.outputs.push_back(Output::Answer { ticket, value });
            }
            *flight = Flight::Stale;
        }
        // Outputs that were not carried out are about the previous roster, too.
        self.outputs.retain(|output| {
            !matches!(
                output,
                Output::Roster { .. }
                    | Output::Restate { .. }
                    | Output::EventsLost
                    | Output::NodesRestated { .. }
            )
        });
        self.inbox.generation += 1;
        self.inbox.entries_read = 0;
        self.rooms.waiting.clear();
        self.rooms.order.clear();
        self.rooms.pending.clear();
        self.rooms.is_unannounced = true;
        self.restated.clear();
        self.returns.clear();
    }

    pub(super) fn register(&mut self, now: Mono) -> Cmd {
        self.phase = Phase::Registering;
        self.inbox.generation += 1;
        self.inbox.entries_read = 0;
        let world = format!("{:016x}", self.rng.random::<u64>());
        self.flights.push_back(Flight::Register { sent: now });
        let mut command = self.identity.evalsha(Script::Register);
        command
            .arg(&self.settings.prefix)
            .arg(self.run.as_deref().unwrap_or("?"))
            .arg(&*self.identity.id)
            .arg(world)
            .arg(self.queue.last_number())
            .arg(self.settings.lease.as_millis() as u64)
            .arg(&self.settings.about)
            .arg(self.inbox.generation)
            .arg(u8::from(self.listing.is_draining))
            .arg(self.time_of_cluster(now));
        command
    }

    pub(super) fn new_id(&mut self) -> NodeId {
        let incarnation: u64 = self.rng.random();
        format!("{}.{incarnation:016x}", self.settings.name).into()
    }

    /// Queues a room to be restated; one that is wanted again comes first.
    pub(super) fn want_restate(&mut self, room: &Arc<str>) {
        if self.rooms.waiting.insert(room.clone()) {
            self.rooms.order.push_back(room.clone());
        } else {
            self.rooms.order.push_front(room.clone());
        }
    }

    pub(super) fn start_restates(&mut self) {
        if self.rooms.waiting.is_empty() {
            return;
        }
        let mut running = self.queue.restates() + self.rooms.pending.len();
        while running < MAX_RESTATES
            && let Some(room) = self.rooms.order.pop_front()
        {
            if self.rooms.waiting.remove(&room) {
                running += 1;
                self.rooms.pending.insert(room.clone());
                self.outputs.push_back(Output::Restate { room });
            }
        }
    }

    /// Announces that all rooms are restated, after the last of them.
    pub(super) fn announce_restated(&mut self, now: Mono) {
        let rooms = &mut self.rooms;
        let is_done = rooms.waiting.is_empty() && rooms.pending.is_empty() && !rooms.is_unvisited;
        if rooms.is_unannounced && is_done {
            rooms.is_unannounced = false;
            self.queue.push_restated(now);
        }
    }

    pub(super) fn end_unconfirmed(&mut self, now: Mono) {
        if self.rooms.is_unannounced || self.others_restate(now) {
            // This node cannot know yet which members the others restate.
            self.rooms.until = Some(now + Duration::from_secs(1));
            return;
        }
        self.rooms.until = None;
        if applies(Rule::UnconfirmedMembersLeave) {
            self.outputs.push_back(Output::ForgetUnconfirmed);
        }
    }

    /// Whether other nodes with a lease have yet to restate rooms. With many rooms that takes longer than a node that
    /// does not return is waited for.
    fn others_restate(&self, now: Mono) -> bool {
        let others = self.listing.nodes.iter().map(|node| &node.id);
        let mut others = others.filter(|id| **id != self.identity.id);
        let may_wait = !self.rooms.is_uncertain && now.since(self.rooms.from) < MAX_RESTATING;
        may_wait && others.any(|id| !self.restated.contains(id))
    }

    pub(super) fn evict(&mut self, node: NodeId, condition: &'static str) {
        let is_same = |control: &Control| matches!(control, Control::Evict { node: other, .. } if *other == node);
        let in_flight =
            |flight: &Flight| matches!(flight, Flight::Evict { node: other } if *other == node);
        if !self.controls.iter().any(is_same) && !self.flights.iter().any(in_flight) {
            self.controls.push_back(Control::Evict { node, condition });
        }
    }
}
