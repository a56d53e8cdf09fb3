//! One node: its lease, its commands and its inbox.
//!
//! The caller connects, sends the commands that [`Node::poll_command`] returns in their order, passes each reply
//! to [`Node::handle_reply`] in the same order, reads the inbox by [`Node::read_command`], and carries out
//! what [`Node::poll_output`] returns. After a lost connection, unanswered commands are sent again.

mod about;
mod commands;
mod ending;
mod message;
mod queue;
mod reading;
mod recovery;
mod returns;
mod saved;
mod state;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use redis::{Cmd, Value};

use super::inbox::{status, text};
use super::scripts::{Script, Scripts};
use crate::clock::Mono;
use crate::room::{NodeId, RemoteFrame, Request, RosterEvent};
use commands::Identity;
use queue::Queue;
use returns::Returns;
pub use saved::SavedNode;
use state::{Control, Evicted, Flight, Inbox, Listing, Phase, Renewal, Restating};

/// Members of a lost roster count as connected for this long.
const UNCONFIRMED_TIMEOUT: Duration = Duration::from_secs(10);
/// Nodes that are listed, and have not restated their rooms, are waited for this long. A million members take about
/// two minutes on two cores.
const MAX_RESTATING: Duration = Duration::from_secs(600);
/// Nodes begin to restate at a random time within this one, so that they do not all begin at once.
const RESTATE_JITTER_MS: u64 = 1000;
/// Rooms that a node restates at a time.
const MAX_RESTATES: usize = 50;

#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name, without blanks.
    pub name: String,
    /// All keys begin with it.
    pub prefix: String,
    /// A node that does not renew its lease for this long is evicted.
    pub lease: Duration,
    /// Text about this node for the other nodes, at most 4 KiB.
    pub about: String,
}

/// A step for the caller to carry out.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// [`Room::apply`](crate::room::Room::apply). A room that does not exist is created for it.
    Roster { room: Arc<str>, event: RosterEvent },
    /// [`Room::receive_remote`](crate::room::Room::receive_remote).
    Frame {
        room: Arc<str>,
        node: NodeId,
        frame: RemoteFrame,
    },
    /// [`Room::roster_lost`](crate::room::Room::roster_lost) in all rooms, then [`Node::rooms_visited`].
    RosterLost,
    /// [`Room::fenced`](crate::room::Room::fenced) in all rooms, then [`Node::rooms_visited`].
    Fenced { node: NodeId },
    /// [`Room::events_lost`](crate::room::Room::events_lost) in all rooms.
    EventsLost,
    /// [`Room::restate`](crate::room::Room::restate), then [`Node::request`] even without requests.
    Restate { room: Arc<str> },
    /// [`Room::nodes_restated`](crate::room::Room::nodes_restated) in one room, or in all.
    NodesRestated {
        room: Option<Arc<str>>,
        nodes: Vec<NodeId>,
    },
    /// [`Room::forget_unconfirmed`](crate::room::Room::forget_unconfirmed) in all rooms, then
    /// [`Node::abandon`].
    ForgetUnconfirmed,
    /// Bytes that [`Node::tell`] of another node sent.
    Message { node: NodeId, bytes: Vec<u8> },
    /// The answer to [`Node::call`]; `None` without one.
    Answer { ticket: u64, value: Option<String> },
}

/// Counts since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Frames for other nodes that this node queued.
    pub frames_sent: u64,
    /// Frames of other nodes.
    pub frames_received: u64,
    /// Frames that this node dropped from its queue.
    pub frames_dropped: u64,
    /// Messages of [`Node::tell`] that were not sent.
    pub messages_dropped: u64,
    /// Entries of the inbox of an unknown kind, which a later version sent.
    pub entries_unknown: u64,
    /// Batches of frames from other nodes that did not arrive.
    pub batches_lost: u64,
    /// Batches that arrived again and were dropped.
    pub batches_repeated: u64,
    /// Times that entries of the inbox were removed unread.
    pub inbox_overruns: u64,
    /// Times that the connection was lost.
    pub connection_losses: u64,
    /// Times that Redis lost the rosters.
    pub rosters_lost: u64,
    /// Times that this node was evicted.
    pub evictions: u64,
}

/// The state machine of a node.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    identity: Identity,
    rng: ChaCha12Rng,
    is_connected: bool,
    /// The run id of the server of the last connection.
    run: Option<String>,
    phase: Phase,
    queue: Queue,
    controls: VecDeque<Control>,
    flights: VecDeque<Flight>,
    /// Whether the connection must be closed, because an answer was not understood.
    is_broken: bool,
    outputs: VecDeque<Output>,
    inbox: Inbox,
    rooms: Restating,
    renewal: Renewal,
    listing: Listing,
    /// Nodes that restated all their rooms since the roster was lost.
    restated: HashSet<NodeId>,
    evicted: Evicted,
    returns: Returns,
    /// Whether it continues the node of an earlier process.
    is_resumed: bool,
    /// The name of the process that continues it; empty for the one that has registered.
    process: String,
    /// The name of this process, until Redis has accepted it.
    claim: Option<String>,
    tickets: u64,
    counts: Counts,
}

impl Node {
    /// `seed` must be random: it makes the node's identifier.
    pub fn new(settings: Settings, scripts: Arc<Scripts>, seed: [u8; 32]) -> Node {
        let mut node = Node {
            identity: Identity {
                scripts,
                prefix: settings.prefix.clone(),
                id: NodeId::from(""),
                world: String::new(),
            },
            settings,
            rng: ChaCha12Rng::from_seed(seed),
            is_connected: false,
            run: None,
            phase: Phase::Unregistered,
            queue: Queue::default(),
            controls: VecDeque::new(),
            flights: VecDeque::new(),
            is_broken: false,
            outputs: VecDeque::new(),
            inbox: Inbox::default(),
            rooms: Restating::default(),
            renewal: Renewal::default(),
            listing: Listing::default(),
            restated: HashSet::new(),
            evicted: Evicted::default(),
            returns: Returns::default(),
            is_resumed: false,
            process: String::new(),
            claim: None,
            tickets: 0,
            counts: Counts::default(),
        };
        node.rooms.is_unannounced = true;
        node.identity.id = node.new_id();
        node
    }

    /// The node's identifier, which changes when it is evicted.
    pub fn id(&self) -> &NodeId {
        &self.identity.id
    }

    /// Whether users can enter rooms: Redis answers, and lists this node.
    pub fn is_available(&self) -> bool {
        self.is_connected && self.phase == Phase::Registered
    }

    /// Whether the caller must close the connection and connect again.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub fn counts(&self) -> Counts {
        Counts {
            frames_sent: self.queue.frames(),
            frames_dropped: self.queue.dropped(),
            messages_dropped: self.counts.messages_dropped + self.queue.messages_dropped(),
            ..self.counts
        }
    }

    /// Whether nothing waits for Redis or for the caller.
    pub fn is_idle(&self) -> bool {
        let rooms = &self.rooms;
        self.queue.is_empty()
            && self.flights.is_empty()
            && self.outputs.is_empty()
            && rooms.waiting.is_empty()
            && rooms.pending.is_empty()
            && rooms.until.is_none()
            && self.returns.is_empty()
            && self.phase == Phase::Registered
    }

    /// The run id of the server that lists this node now.
    pub fn run_id(&self) -> Option<&str> {
        self.run.as_deref().filter(|_| self.is_available())
    }

    /// Records a new connection, whose server has all scripts and this `run_id`.
    pub fn handle_connected(&mut self, run_id: &str, now: Mono) {
        self.is_connected = true;
        self.is_broken = false;
        self.renewal.next = now;
        let is_other = self.run.as_deref().is_some_and(|run| run != run_id);
        self.run = Some(run_id.to_owned());
        if is_other && self.phase == Phase::Registered {
            self.lose_roster();
        }
        if let Some(until) = &mut self.rooms.until {
            *until = (*until).max(now + UNCONFIRMED_TIMEOUT);
        }
    }

    /// Records that the connection is lost.
    pub fn handle_disconnected(&mut self) {
        self.counts.connection_losses += u64::from(self.is_connected);
        self.is_connected = false;
        self.renewal = Renewal::default();
        self.queue.unsend();
        let calls = self.flights.drain(..).filter_map(|flight| match flight {
            Flight::Call { ticket } => Some(ticket),
            _ => None,
        });
        let unsent = self.controls.drain(..).filter_map(|control| match control {
            Control::Call { ticket, .. } => Some(ticket),
            _ => None,
        });
        let answers = calls.chain(unsent).map(|ticket| Output::Answer {
            ticket,
            value: None,
        });
        self.outputs.extend(answers);
        if self.phase == Phase::Registering {
            self.phase = Phase::Unregistered;
        }
    }

    /// Queues the requests of a room.
    pub fn request(&mut self, room: &Arc<str>, requests: Vec<Request>, now: Mono) {
        self.rooms.pending.remove(room);
        for request in requests {
            match request {
                Request::Send { node, frame } => self.queue.push_frame(room, node, &frame, now),
                Request::Resync => self.want_restate(room),
                Request::Admitted { .. } => {}
                Request::Enter { .. }
                | Request::Describe { .. }
                | Request::Suspend { .. }
                | Request::Leave { .. }
                | Request::End { .. }
                | Request::Restate { .. } => {
                    self.queue.push_roster(room.clone(), request, now);
                }
            }
        }
    }

    /// Records that all rooms have seen [`Output::RosterLost`] or [`Output::Fenced`].
    pub fn rooms_visited(&mut self) {
        self.rooms.is_unvisited = false;
    }

    /// Evicts nodes that did not restate their members in time.
    pub fn abandon(&mut self, nodes: Vec<NodeId>) {
        for node in nodes {
            self.evicted.insert(&node);
            self.evict(node, "any");
        }
    }

    /// Runs a script whose answer is a text; [`Output::Answer`] has the ticket.
    pub fn call(&mut self, script: Script, args: Vec<String>) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        if self.is_available() {
            let call = Control::Call {
                ticket,
                script,
                args,
            };
            self.controls.push_back(call);
        } else {
            self.outputs.push_back(Output::Answer {
                ticket,
                value: None,
            });
        }
        ticket
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Mono) {
        if !self.is_connected {
            self.queue.expire(now);
            return;
        }
        if self.phase != Phase::Registered {
            return;
        }
        if self.renewal.next <= now {
            self.renewal.next = now + self.settings.lease / 5;
            self.controls.push_back(Control::Renew);
        }
        for (room, request) in self.returns.due(now) {
            self.queue.push_roster(room, request, now);
        }
        if self.rooms.from <= now {
            self.start_restates();
        }
        if self.rooms.until.is_some_and(|until| until <= now) {
            self.end_unconfirmed(now);
        }
    }

    /// When [`Node::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Mono {
        let waits = !self.rooms.waiting.is_empty() || self.rooms.is_unannounced;
        let restate = waits.then_some(self.rooms.from);
        let times = [
            Some(self.renewal.next),
            restate,
            self.rooms.until,
            self.returns.next(),
        ];
        times.into_iter().flatten().min().unwrap_or_default()
    }

    /// Returns the next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns the next command to send.
    pub fn poll_command(&mut self, now: Mono) -> Option<Cmd> {
        if !self.is_connected || self.is_broken {
            return None;
        }
        match self.phase {
            Phase::Unregistered => return Some(self.register(now)),
            Phase::Registering => return None,
            Phase::Ended => return self.send_last(now),
            Phase::Registered => {}
        }
        if let Some(control) = self.controls.pop_front() {
            return Some(self.send_control(control, now));
        }
        if self.claim.is_some() {
            return None;
        }
        self.announce_restated(now);
        let command = self.identity.command(self.queue.send()?);
        self.flights.push_back(Flight::Queued);
        Some(command)
    }

    /// Handles the reply to the oldest command without one.
    pub fn handle_reply(&mut self, reply: Value, now: Mono) {
        let Some(flight) = self.flights.pop_front() else {
            self.is_broken = true;
            return;
        };
        if flight == Flight::Stale || self.phase == Phase::Ended {
            return;
        }
        if let Value::ServerError(_) = reply {
            self.is_broken = true;
            self.flights.push_front(flight);
            return;
        }
        match status(&reply) {
            Some("WORLD") => return self.lose_roster(),
            Some("FENCED") => return self.fence(),
            Some("GAP") => {
                self.is_broken = true;
                self.flights.push_front(flight);
                return;
            }
            _ => {}
        }
        match flight {
            Flight::Register { sent } => self.registered(reply, sent, now),
            Flight::Renew { entries_read, sent } => {
                self.renewed(reply, entries_read, sent, now);
            }
            Flight::Evict { node } => {
                if text(reply).is_some_and(|left| left != "0") {
                    self.evict(node, "any");
                }
            }
            Flight::Clean { list } => {
                if text(reply).is_some_and(|left| left != "0") {
                    self.controls.push_back(Control::Clean { list });
                }
            }
            Flight::Call { ticket } => {
                let value = text(reply);
                self.outputs.push_back(Output::Answer { ticket, value });
            }
            Flight::Queued => {
                self.queue.answered();
            }
            Flight::Stale => {}
        }
    }

    fn send_control(&mut self, control: Control, now: Mono) -> Cmd {
        match control {
            Control::Renew => {
                let mut command = self.identity.script(Script::Renew);
                command
                    .arg(self.settings.lease.as_millis() as u64)
                    .arg(&self.inbox.position)
                    .arg(u8::from(self.listing.is_draining))
                    .arg(&self.settings.about)
                    .arg(&self.listing.version)
                    .arg(&self.process)
                    .arg(self.claim.as_deref().unwrap_or_default());
                self.flights.push_back(Flight::Renew {
                    sent: now,
                    entries_read: self.inbox.entries_read,
                });
                command
            }
            Control::Evict { node, condition } => {
                let mut command = self.identity.script(Script::Evict);
                command.arg(&*node).arg(condition);
                self.flights.push_back(Flight::Evict { node });
                command
            }
            Control::Clean { list } => {
                let mut command = self.identity.script(Script::Clean);
                command.arg(&list);
                self.flights.push_back(Flight::Clean { list });
                command
            }
            Control::Call {
                ticket,
                script,
                args,
            } => {
                let mut command = self.identity.script(script);
                command.arg(args);
                self.flights.push_back(Flight::Call { ticket });
                command
            }
        }
    }
}
