//! Nodes with their rooms and clients, and the commands between them and Redis.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use redis::{Connection, ConnectionLike, Value, cmd};

use super::server::server;
use crate::bus::redis::{Node, Output, Scripts, Settings};
use crate::clock::Mono;
use crate::room::{ConnectionId, Effect, Limits, NodeId, Room};

pub(super) const USERS: [&str; 6] = ["ann", "bob", "cleo", "dan", "eve", "flo"];
/// Those whose clients speak `parlor.v1`.
pub(super) const EXTENDED: [&str; 3] = ["bob", "dan", "flo"];
pub(super) const ROOMS: [&str; 3] = ["lobby", "attic", "cellar"];
pub(super) const LEASE: Duration = Duration::from_secs(10);

/// A violated rule: the seed fails with this message.
pub(super) type Check = Result<(), String>;

/// Another user in a client's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The other client.
    pub client: usize,
    /// Whether this client received `user-joined`, and so made the offer.
    pub offers: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub user: &'static str,
    pub room: &'static str,
    pub node: usize,
    pub connection: ConnectionId,
    pub is_admitted: bool,
    pub is_open: bool,
    /// The earlier client of the same user that it continues, and whether the roster agreed.
    pub resumes: Option<usize>,
    pub is_resumed: bool,
    /// Whether its node closes it soon, because it restarts.
    pub is_ending: bool,
    /// The users who were awaited when it was admitted: it may know them.
    pub unclear: BTreeSet<String>,
    pub entered_at: Mono,
    pub admitted_at: Mono,
    pub known: BTreeMap<String, Known>,
    /// Every `user-joined`, by client and place.
    pub offered: BTreeSet<(usize, String)>,
    /// The last number from each client.
    pub last: BTreeMap<usize, u64>,
    pub received: BTreeSet<u64>,
    pub state: State,
    /// The participants as it sees them, and itself.
    pub views: BTreeMap<String, State>,
}

/// The state of a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub name: String,
    pub muted: bool,
}

impl State {
    pub(super) fn new(user: &str) -> State {
        State {
            // Not the id, which is the name of a member without a description.
            name: format!("{user} 0"),
            muted: false,
        }
    }
}

pub(super) struct SimNode {
    pub node: Node,
    pub rooms: BTreeMap<&'static str, Room>,
    pub is_connected: bool,
    /// A frozen node does nothing.
    pub is_frozen: bool,
    pub instances: u64,
}

impl SimNode {
    /// Returns a room, which is created if it does not exist.
    pub(super) fn room(&mut self, name: &'static str) -> &mut Room {
        self.rooms.entry(name).or_insert_with(|| {
            self.instances += 1 << 20;
            let mut room = Room::new(name, Limits::UNLIMITED);
            let first = ConnectionId::new(self.instances).unwrap();
            room.connect(self.node.id().clone(), first);
            room
        })
    }
}

pub(super) struct World {
    pub rng: ChaCha12Rng,
    pub redis: Connection,
    pub now: Mono,
    pub run: u64,
    /// How far the server's clock is behind, in µs.
    pub delay_us: u64,
    pub nodes: Vec<SimNode>,
    pub clients: Vec<Client>,
    /// Clients whose connection ended by a restart, and who may return.
    pub away: Vec<usize>,
    /// Clients who continue an earlier one for others, without notification.
    pub silent: Vec<usize>,
    /// Clients, and those who must not be notified of them.
    pub known_before: BTreeSet<(usize, usize)>,
    /// All identifiers that the nodes ever had.
    pub ids: HashMap<NodeId, usize>,
    pub scripts: Arc<Scripts>,
    pub frames: u64,
    /// Sender, receiver and number of each frame to one user.
    pub directed: Vec<(usize, usize, u64)>,
    pub notified: u64,
    /// Whether no node is evicted and no data is lost, so that each member joins once.
    pub is_calm: bool,
    pub log: Vec<String>,
}

/// The clock of the scripts is a key that the schedule sets.
pub(super) const CLOCK: [(&str, &str); 1] = [(
    "local time = redis.call('TIME')\n    return time[1] * 1000000 + time[2]",
    "return tonumber(redis.call('GET', PREFIX .. 'now'))",
)];
/// The virtual time at the start, in µs.
const START_US: u64 = 1_700_000_000_000_000;

impl World {
    pub(super) fn new(
        seed: u64,
        nodes: usize,
        redis: Connection,
        patches: &[(&str, &str)],
    ) -> World {
        let scripts = Scripts::patched(&[&CLOCK, patches].concat());
        let mut world = World {
            rng: ChaCha12Rng::seed_from_u64(seed),
            redis,
            now: Mono(1_000_000_000),
            run: 1,
            delay_us: 0,
            nodes: Vec::new(),
            clients: Vec::new(),
            away: Vec::new(),
            silent: Vec::new(),
            known_before: BTreeSet::new(),
            ids: HashMap::new(),
            scripts,
            frames: 0,
            directed: Vec::new(),
            notified: 0,
            is_calm: false,
            log: Vec::new(),
        };
        world.flush();
        for text in world.scripts.texts().to_vec() {
            world.execute(cmd("SCRIPT").arg("LOAD").arg(text));
        }
        for index in 0..nodes {
            let node = world.new_node(index);
            world.nodes.push(node);
        }
        world
    }

    /// A connection to an empty database.
    pub(super) fn connect() -> Connection {
        let client = redis::Client::open(server().database()).unwrap();
        client.get_connection().unwrap()
    }

    pub(super) fn settings(&self, index: usize) -> Settings {
        Settings {
            name: format!("n{index}"),
            prefix: "p1:".to_owned(),
            lease: LEASE,
            about: String::new(),
        }
    }

    pub(super) fn new_node(&mut self, index: usize) -> SimNode {
        let settings = self.settings(index);
        let mut node = Node::new(settings, self.scripts.clone(), self.rng.random());
        self.ids.insert(node.id().clone(), index);
        node.handle_connected(&self.run.to_string(), self.now);
        SimNode {
            node,
            rooms: BTreeMap::new(),
            is_connected: true,
            is_frozen: false,
            instances: self.now.0,
        }
    }

    pub(super) fn execute(&mut self, command: &redis::Cmd) -> Value {
        let reply = self.redis.req_packed_command(&command.get_packed_command());
        reply.unwrap_or_else(|error| panic!("{error}: {:?}", self.log.last()))
    }

    pub(super) fn flush(&mut self) {
        self.execute(&cmd("FLUSHDB"));
        self.set_clock();
    }

    fn set_clock(&mut self) {
        let time = START_US + self.now.0 / 1000 - self.delay_us;
        self.execute(cmd("SET").arg("p1:now").arg(time));
    }

    pub(super) fn pass(&mut self, time: Duration) -> Check {
        self.now = self.now + time;
        self.set_clock();
        for index in 0..self.nodes.len() {
            if !self.nodes[index].is_frozen {
                self.nodes[index].node.handle_timeout(self.now);
                self.carry_out(index)?;
            }
        }
        Ok(())
    }

    /// Sends the node's next commands. With `lose`, the last one or its reply gets lost.
    pub(super) fn write(&mut self, index: usize, count: usize, lose: Option<bool>) -> Check {
        for step in 0..count {
            let node = &mut self.nodes[index];
            if node.is_frozen || !node.is_connected {
                return Ok(());
            }
            let Some(command) = node.node.poll_command(self.now) else {
                break;
            };
            let lost = lose.filter(|_| step + 1 == count);
            if lost == Some(false) {
                return self.disconnect(index);
            }
            let reply = self.execute(&command);
            if lost.is_some() {
                return self.disconnect(index);
            }
            self.nodes[index].node.handle_reply(reply, self.now);
            if self.nodes[index].node.is_broken() {
                self.disconnect(index)?;
                self.reconnect(index)?;
            }
            self.carry_out(index)?;
        }
        Ok(())
    }

    /// Reads entries of the node's inbox; returns whether there were any.
    pub(super) fn read(&mut self, index: usize, count: usize) -> Result<bool, String> {
        let node = &self.nodes[index];
        if node.is_frozen || !node.is_connected {
            return Ok(false);
        }
        let Some((generation, command)) = node.node.read_command(count, None) else {
            return Ok(false);
        };
        let reply = self.execute(&command);
        let is_empty = reply == Value::Nil;
        self.nodes[index].node.handle_entries(generation, reply);
        self.carry_out(index)?;
        Ok(!is_empty)
    }

    pub(super) fn disconnect(&mut self, index: usize) -> Check {
        self.nodes[index].is_connected = false;
        self.nodes[index].node.handle_disconnected();
        self.carry_out(index)
    }

    pub(super) fn reconnect(&mut self, index: usize) -> Check {
        if !self.nodes[index].is_connected {
            self.nodes[index].is_connected = true;
            self.nodes[index]
                .node
                .handle_connected(&self.run.to_string(), self.now);
        }
        self.carry_out(index)
    }

    pub(super) fn freeze(&mut self, index: usize) {
        self.log(format!("n{index} is frozen"));
        self.nodes[index].is_frozen = true;
    }

    pub(super) fn unfreeze(&mut self, index: usize) {
        self.log(format!("n{index} continues"));
        self.nodes[index].is_frozen = false;
    }

    /// The inbox of a node loses entries that the node has not read.
    pub(super) fn trim(&mut self, index: usize) {
        let inbox = format!("p1:i:{}", self.nodes[index].node.id());
        let remaining = self.rng.random_range(0..2);
        let trim: Value = self.execute(cmd("XTRIM").arg(inbox).arg("MAXLEN").arg(remaining));
        self.log(format!("{trim:?} entries of n{index}'s inbox are removed"));
    }

    /// The process of a node ends, and another one starts.
    pub(super) fn kill(&mut self, index: usize) {
        self.log(format!("n{index} is killed"));
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.node == index)
        {
            client.is_open = false;
        }
        self.nodes[index] = self.new_node(index);
    }

    /// Carries out the outputs of a node.
    fn carry_out(&mut self, index: usize) -> Check {
        while let Some(output) = self.nodes[index].node.poll_output() {
            if !matches!(output, Output::Frame { .. }) {
                self.log(format!("n{index}: {output:?}"));
            }
            match output {
                Output::Roster { room, event } => {
                    self.with_room(index, &room, |room, effects| room.apply(event, effects))?;
                }
                Output::Frame { room, node, frame } => {
                    self.with_room(index, &room, |room, effects| {
                        room.receive_remote(&node, &frame, effects);
                    })?;
                }
                Output::Restate { room } => {
                    self.with_room(index, &room, |room, _| room.restate())?;
                }
                Output::RosterLost => {
                    self.with_rooms(index, |room, _| room.roster_lost())?;
                    self.nodes[index].node.rooms_visited();
                }
                Output::Fenced { node } => {
                    self.ids.insert(node.clone(), index);
                    self.with_rooms(index, |room, effects| room.fenced(node.clone(), effects))?;
                    self.nodes[index].node.rooms_visited();
                }
                Output::EventsLost => self.with_rooms(index, |room, _| room.events_lost())?,
                Output::NodesRestated { room, nodes } => {
                    let is_wanted = |name: &str| room.as_ref().is_none_or(|room| **room == *name);
                    for name in ROOMS.into_iter().filter(|name| is_wanted(name)) {
                        self.with_room(index, name, |room, effects| {
                            room.nodes_restated(|node| nodes.contains(node), effects);
                        })?;
                    }
                }
                Output::ForgetUnconfirmed => {
                    let mut nodes = Vec::new();
                    self.with_rooms(index, |room, effects| {
                        nodes.extend(room.forget_unconfirmed(effects));
                    })?;
                    self.nodes[index].node.abandon(nodes);
                }
                Output::Answer { .. } | Output::Message { .. } => {}
            }
        }
        Ok(())
    }

    fn with_rooms(
        &mut self,
        index: usize,
        mut work: impl FnMut(&mut Room, &mut Vec<Effect>),
    ) -> Check {
        let rooms: Vec<&str> = self.nodes[index].rooms.keys().copied().collect();
        for room in rooms {
            self.with_room(index, room, &mut work)?;
        }
        Ok(())
    }

    pub(super) fn with_room(
        &mut self,
        index: usize,
        name: &str,
        work: impl FnOnce(&mut Room, &mut Vec<Effect>),
    ) -> Check {
        let name = ROOMS
            .into_iter()
            .find(|room| *room == name)
            .expect("a room of the test");
        let mut effects = Vec::new();
        work(self.nodes[index].room(name), &mut effects);
        self.after(index, name, effects)
    }

    pub(super) fn log(&mut self, line: String) {
        let seconds = self.now.0 as f64 / 1e9;
        self.log.push(format!("{seconds:8.3} {line}"));
    }
}
