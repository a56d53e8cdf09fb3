//! Many nodes and members on one Redis server: the state machines and rooms of all nodes in this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parlor::bus::redis::{Node, Output, Scripts, Settings};
use parlor::clock::{self, Mono};
use parlor::room::{ConnectionId, Effect, Limits, Request, Room};
use redis::{Connection, Pipeline, Value};

use crate::nodes::PREFIX;
use crate::server::Server;

const NODES: usize = 100;
const PEOPLE: usize = 5;
/// Rooms without an argument.
const ROOMS: usize = 200_000;
const THREADS: usize = 2;
const LEASE: Duration = Duration::from_secs(10);
/// Members who enter at a time, commands in a pipeline, and entries that are read at a time.
const ENTRIES: usize = 128;
const COMMANDS: usize = 256;
const READS: usize = 1000;
/// Numbers of connections for each room.
const CONNECTIONS: u64 = 1 << 20;

/// The progress of all nodes.
#[derive(Default)]
struct Progress {
    admitted: AtomicUsize,
    /// Messages to clients.
    delivered: AtomicUsize,
    has_ended: AtomicBool,
}

/// A node with its rooms.
struct Virtual {
    node: Node,
    rooms: HashMap<Arc<str>, Room>,
    /// Room and user of each member who has yet to enter.
    waiting: Vec<(usize, usize)>,
}

/// Fills `rooms` rooms, empties Redis, and waits until all is restated.
pub(crate) fn measure(server: &Server, rooms: usize) {
    let members = rooms * PEOPLE;
    println!("{members} members in {rooms} rooms on {NODES} nodes:");
    let mut redis = server.connect();
    let before = memory(&mut redis);
    let progress = Progress::default();
    let (start, cpu) = (clock::now().mono, server.cpu());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (redis, progress) = (server.connect(), &progress);
            scope.spawn(move || run(thread, rooms, redis, progress));
        }
        wait_until(|| progress.admitted.load(Ordering::Relaxed) == members);
        wait_until(|| listed(&mut redis) == members);
        // Of two members the older one is notified of the newer one.
        let joined = rooms * PEOPLE * (PEOPLE - 1) / 2;
        wait_until(|| progress.delivered.load(Ordering::Relaxed) == joined);
        let (time, spent) = (since(start), server.cpu() - cpu);
        println!(
            "  entered in {time:.0} s: {:.1} µs of Redis for each ({:.0} % of a core)",
            spent / members as f64,
            spent / time / 1e4
        );
        let bytes = (memory(&mut redis) - before) as f64 / members as f64;
        println!("  Redis has {bytes:.0} bytes for each member");
        let (start, cpu) = (clock::now().mono, server.cpu());
        let _: () = redis::cmd("FLUSHALL").query(&mut redis).expect("an answer");
        wait_until(|| restated(&mut redis) == NODES);
        let (time, spent) = (since(start), server.cpu() - cpu);
        println!(
            "  restated {time:.0} s after FLUSHALL: {:.1} µs of Redis for each ({:.0} % of a core)",
            spent / members as f64,
            spent / time / 1e4
        );
        // Members whom no node restates would leave after this.
        std::thread::sleep(LEASE * 2);
        assert_eq!(listed(&mut redis), members, "members are missing");
        let seen = progress.delivered.load(Ordering::Relaxed) - joined;
        println!("  {seen} messages to clients because of that");
        progress.has_ended.store(true, Ordering::Relaxed);
    });
}

/// Runs some of the nodes until the end.
fn run(thread: usize, rooms: usize, mut redis: Connection, progress: &Progress) {
    let scripts = Scripts::new();
    for text in scripts.texts() {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(text);
        let _: String = load.query(&mut redis).expect("a script");
    }
    let mut nodes: Vec<Virtual> = (thread..NODES)
        .step_by(THREADS)
        .map(|number| Virtual::new(number, rooms, &scripts))
        .collect();
    while !progress.has_ended.load(Ordering::Relaxed) {
        for node in &mut nodes {
            node.work(&mut redis, progress);
        }
    }
}

/// The node of a member.
fn node_of(room: usize, user: usize) -> usize {
    (room * 7919 + user * 31 + room / NODES) % NODES
}

fn id(kind: char, number: usize) -> String {
    format!("{kind}0000000-0000-4000-8000-{number:012x}")
}

impl Virtual {
    fn new(number: usize, rooms: usize, scripts: &Arc<Scripts>) -> Virtual {
        let settings = Settings {
            name: format!("n{number}"),
            prefix: PREFIX.to_owned(),
            lease: LEASE,
            about: String::new(),
        };
        let mut node = Node::new(settings, scripts.clone(), rand::random());
        node.handle_connected("run", clock::now().mono);
        let all = (0..rooms).flat_map(|room| (0..PEOPLE).map(move |user| (room, user)));
        Virtual {
            node,
            rooms: HashMap::new(),
            waiting: all
                .filter(|(room, user)| node_of(*room, *user) == number)
                .collect(),
        }
    }

    fn work(&mut self, redis: &mut Connection, progress: &Progress) {
        let now = clock::now().mono;
        self.node.handle_timeout(now);
        self.carry_out(now, progress);
        if self.node.is_available() {
            self.enter(now, progress);
        }
        let mut commands = redis::pipe();
        while commands.len() < COMMANDS
            && let Some(command) = self.node.poll_command(now)
        {
            commands.add_command(command);
        }
        if !commands.is_empty() {
            for reply in send(redis, &commands) {
                self.node.handle_reply(reply, now);
                assert!(!self.node.is_broken(), "an answer is not understood");
            }
            self.carry_out(now, progress);
        }
        while let Some((generation, command)) = self.node.read_command(READS, None) {
            let mut read = redis::pipe();
            read.add_command(command);
            let reply = send(redis, &read).remove(0);
            if reply == Value::Nil {
                break;
            }
            self.node.handle_entries(generation, reply);
            self.carry_out(now, progress);
        }
    }

    /// Some more members enter.
    fn enter(&mut self, now: Mono, progress: &Progress) {
        for (room, user) in self
            .waiting
            .split_off(self.waiting.len().saturating_sub(ENTRIES))
        {
            let room = Arc::from(id('a', room));
            self.with_room(&room, now, progress, |room, _| {
                room.enter(&id('b', user), false, now);
            });
        }
    }

    fn with_room(
        &mut self,
        id: &Arc<str>,
        now: Mono,
        progress: &Progress,
        work: impl FnOnce(&mut Room, &mut Vec<Effect>),
    ) {
        let room = self.rooms.entry(id.clone()).or_insert_with(|| {
            let mut room = Room::new(id, Limits::UNLIMITED);
            let first = ConnectionId::new(CONNECTIONS).expect("a number");
            room.connect(self.node.id().clone(), first);
            room
        });
        let mut effects = Vec::new();
        work(room, &mut effects);
        let requests = room.take_requests();
        let is_admitted = |request: &&Request| matches!(request, Request::Admitted { .. });
        let admitted = requests.iter().filter(is_admitted).count();
        progress.admitted.fetch_add(admitted, Ordering::Relaxed);
        progress
            .delivered
            .fetch_add(effects.len(), Ordering::Relaxed);
        self.node.request(id, requests, now);
    }

    fn with_rooms(
        &mut self,
        now: Mono,
        progress: &Progress,
        mut work: impl FnMut(&mut Room, &mut Vec<Effect>),
    ) {
        let ids: Vec<Arc<str>> = self.rooms.keys().cloned().collect();
        for id in ids {
            self.with_room(&id, now, progress, &mut work);
        }
    }

    fn carry_out(&mut self, now: Mono, progress: &Progress) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Roster { room, event } => {
                    self.with_room(&room, now, progress, |room, effects| {
                        room.apply(event, effects);
                    });
                }
                Output::Restate { room } => {
                    self.with_room(&room, now, progress, |room, _| room.restate());
                }
                Output::RosterLost => {
                    self.with_rooms(now, progress, |room, _| room.roster_lost());
                    self.node.rooms_visited();
                }
                Output::Fenced { node } => {
                    self.with_rooms(now, progress, |room, effects| {
                        room.fenced(node.clone(), effects);
                    });
                    self.node.rooms_visited();
                }
                Output::EventsLost => self.with_rooms(now, progress, |room, _| room.events_lost()),
                Output::NodesRestated { room, nodes } => {
                    let restated = |room: &mut Room, effects: &mut Vec<Effect>| {
                        room.nodes_restated(|node| nodes.contains(node), effects);
                    };
                    match room {
                        Some(room) => self.with_room(&room, now, progress, restated),
                        None => self.with_rooms(now, progress, restated),
                    }
                }
                Output::ForgetUnconfirmed => {
                    let mut nodes = Vec::new();
                    self.with_rooms(now, progress, |room, effects| {
                        nodes.extend(room.forget_unconfirmed(effects));
                    });
                    nodes.sort_unstable();
                    nodes.dedup();
                    self.node.abandon(nodes);
                }
                Output::Frame { .. } | Output::Message { .. } | Output::Answer { .. } => {}
            }
        }
    }
}

fn send(redis: &mut Connection, commands: &Pipeline) -> Vec<Value> {
    use redis::ConnectionLike;
    let packed = commands.get_packed_pipeline();
    let replies = redis.req_packed_commands(&packed, 0, commands.len());
    replies.expect("answers")
}

/// The nodes that Redis lists.
fn ids(redis: &mut Connection) -> Vec<String> {
    let mut command = redis::cmd("ZRANGE");
    command.arg(format!("{PREFIX}nodes")).arg(0).arg(-1);
    command.query(redis).expect("an answer")
}

/// The number of members that rosters list, as far as nodes have one in each room.
fn listed(redis: &mut Connection) -> usize {
    let mut query = redis::pipe();
    let mut cursor = 0_u64;
    let mut counts = Vec::new();
    loop {
        let mut scan = redis::cmd("SCAN");
        let pattern = format!("{PREFIX}m:*");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(10_000);
        let (next, keys): (u64, Vec<String>) = scan.query(redis).expect("an answer");
        query.clear();
        for key in &keys {
            query.cmd("HVALS").arg(key);
        }
        if !keys.is_empty() {
            let values: Vec<Vec<usize>> = query.query(redis).expect("an answer");
            counts.extend(values.into_iter().flatten());
        }
        cursor = next;
        if cursor == 0 {
            return counts.into_iter().sum();
        }
    }
}

/// The number of nodes that have restated all their rooms.
fn restated(redis: &mut Connection) -> usize {
    let mut query = redis::pipe();
    for id in ids(redis) {
        query
            .cmd("HEXISTS")
            .arg(format!("{PREFIX}h:{id}"))
            .arg("restated");
    }
    if query.is_empty() {
        return 0;
    }
    let restated: Vec<usize> = query.query(redis).expect("an answer");
    restated.into_iter().sum()
}

fn memory(redis: &mut Connection) -> usize {
    let mut info = redis::cmd("INFO");
    let text: String = info.arg("memory").query(redis).expect("an answer");
    let used = text
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    used.and_then(|used| used.parse().ok()).expect("a number")
}

fn since(start: Mono) -> f64 {
    clock::now().mono.since(start).as_secs_f64()
}

fn wait_until(mut is_true: impl FnMut() -> bool) {
    while !is_true() {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The number of rooms that the arguments name.
pub(crate) fn rooms(arguments: &[String]) -> usize {
    let mut numbers = arguments.iter().filter_map(|text| text.parse().ok());
    numbers.next().unwrap_or(ROOMS)
}
