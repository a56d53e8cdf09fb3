//! Faults that begin and end at random.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::Shared;
use super::user::{Order, User};
use crate::support::{Daemon, postgres, redis};

fn log(event: &str) {
    println!("{} ms: {event}", Shared::time());
}

/// The nodes and servers, and what is wrong with them.
pub(super) struct Faults<'a> {
    nodes: Vec<Node>,
    redis: &'a redis::Server,
    /// Redis and PostgreSQL.
    servers: [Server<'a>; 2],
    users: &'a [Arc<User>],
    counts: BTreeMap<String, u32>,
}

/// A server that every node needs.
struct Server<'a> {
    name: &'static str,
    process: &'a dyn Process,
    health: Health,
}

/// The process of a server, which a test ends and starts again.
trait Process {
    fn kill(&self);
    fn restart(&self);
    fn freeze(&self);
    fn resume(&self);
}

/// Implements the trait by the methods of the same names.
macro_rules! process {
    ($server:ty) => {
        impl Process for $server {
            fn kill(&self) {
                self.kill();
            }

            fn restart(&self) {
                self.restart();
            }

            fn freeze(&self) {
                self.freeze();
            }

            fn resume(&self) {
                self.resume();
            }
        }
    };
}

process!(redis::Server);
process!(postgres::Server);

struct Node {
    /// Not there only while it is replaced.
    daemon: Option<Daemon>,
    health: Health,
}

impl Drop for Faults<'_> {
    /// A frozen server would hold up the end of a test that has failed.
    fn drop(&mut self) {
        let frozen = self
            .servers
            .iter()
            .filter(|server| server.health == Health::Frozen);
        frozen.for_each(|server| server.process.resume());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    Frozen,
    Dead,
}

impl<'a> Server<'a> {
    fn new(name: &'static str, process: &'a dyn Process) -> Server<'a> {
        Server {
            name,
            process,
            health: Health::Well,
        }
    }

    /// Kills the server, and returns the fault in words.
    fn kill(&mut self) -> String {
        self.process.kill();
        self.health = Health::Dead;
        format!("{} killed", self.name)
    }

    /// Freezes the server, and returns the fault in words.
    fn freeze(&mut self) -> String {
        self.process.freeze();
        self.health = Health::Frozen;
        format!("{} frozen", self.name)
    }

    /// Ends the fault.
    fn heal(&mut self) {
        match self.health {
            Health::Frozen => self.process.resume(),
            _ => self.process.restart(),
        }
        self.health = Health::Well;
        log(&format!("{} is well again", self.name));
    }
}

impl<'a> Faults<'a> {
    pub(super) fn new(
        nodes: Vec<Daemon>,
        redis: &'a redis::Server,
        postgres: &'static postgres::Server,
        users: &'a [Arc<User>],
    ) -> Faults<'a> {
        let node = |daemon| Node {
            daemon: Some(daemon),
            health: Health::Well,
        };
        Faults {
            nodes: nodes.into_iter().map(node).collect(),
            redis,
            servers: [
                Server::new("Redis", redis),
                Server::new("PostgreSQL", postgres),
            ],
            users,
            counts: BTreeMap::new(),
        }
    }

    /// The faults so far.
    pub(super) fn summary(&self) -> String {
        let counts = self
            .counts
            .iter()
            .map(|(name, count)| format!("{count} × {name}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// Begins a fault of something that is well.
    pub(super) fn begin(&mut self, random: &mut ChaCha12Rng) {
        let name = loop {
            if let Some(name) = self.attempt(random) {
                break name;
            }
        };
        log(&name);
        *self.counts.entry(name).or_default() += 1;
    }

    /// `None` if what was selected does not suit.
    fn attempt(&mut self, random: &mut ChaCha12Rng) -> Option<String> {
        let node = random.random_range(0..self.nodes.len());
        // A node that starts needs both servers.
        let is_any_node_dead = self.nodes.iter().any(|node| node.health == Health::Dead);
        let [is_redis_well, is_postgres_well] =
            [0, 1].map(|index: usize| self.servers[index].health == Health::Well);
        let are_servers_well = is_redis_well && is_postgres_well;
        match random.random_range(0..10) {
            0 if self.nodes[node].health == Health::Well && are_servers_well => {
                self.daemon(node).signal("KILL");
                self.nodes[node].health = Health::Dead;
                Some("node killed".to_owned())
            }
            1 if self.nodes[node].health == Health::Well => {
                self.daemon(node).signal("STOP");
                self.nodes[node].health = Health::Frozen;
                Some("node frozen".to_owned())
            }
            2 if self.nodes[node].health == Health::Well && are_servers_well => {
                let daemon = self.nodes[node].daemon.take().expect("a node");
                self.nodes[node].daemon = Some(daemon.restart());
                Some("node restarted".to_owned())
            }
            3 if is_redis_well && !is_any_node_dead => Some(self.servers[0].kill()),
            4 if is_redis_well && !is_any_node_dead => Some(self.servers[0].freeze()),
            5 if is_redis_well => {
                self.redis.kill_connections();
                Some("connections of Redis killed".to_owned())
            }
            6 if is_postgres_well && !is_any_node_dead => Some(self.servers[1].kill()),
            7 if is_postgres_well && !is_any_node_dead => Some(self.servers[1].freeze()),
            8 => {
                for _ in 0..self.users.len().div_ceil(10) {
                    self.any_user(random).order(Order::Move);
                }
                Some("users moved".to_owned())
            }
            9 if self.nodes[node].health == Health::Well && is_postgres_well => {
                for _ in 0..self.users.len().div_ceil(50) {
                    self.kick(node, self.any_user(random));
                }
                Some("users kicked".to_owned())
            }
            _ => None,
        }
    }

    /// Ends each fault with a probability of one half.
    pub(super) fn heal_some(&mut self, random: &mut ChaCha12Rng) {
        self.heal(|| random.random_bool(0.5));
    }

    pub(super) fn heal_all(&mut self) {
        self.heal(|| true);
    }

    fn heal(&mut self, mut is_over: impl FnMut() -> bool) {
        for server in &mut self.servers {
            if server.health != Health::Well && is_over() {
                server.heal();
            }
        }
        for node in &mut self.nodes {
            if node.health == Health::Well || !is_over() {
                continue;
            }
            match node.health {
                Health::Dead => node.daemon = node.daemon.take().map(Daemon::restart),
                _ => node.daemon.as_ref().expect("a node").signal("CONT"),
            }
            node.health = Health::Well;
            log("a node is well again");
        }
    }

    fn kick(&self, node: usize, user: &User) {
        let connection = {
            let state = user.state.lock().unwrap();
            state.is_entered.then_some(state.connections)
        };
        let kick = ["room", "kick", &user.room, &user.name];
        // A user who was kicked already is no member.
        let is_kicked = self.daemon(node).cli(&kick).status.success();
        if let Some(connection) = connection.filter(|_| is_kicked) {
            user.state.lock().unwrap().kicked = connection;
        }
    }

    fn daemon(&self, node: usize) -> &Daemon {
        self.nodes[node].daemon.as_ref().expect("a node")
    }

    fn any_user(&self, random: &mut ChaCha12Rng) -> &User {
        &self.users[random.random_range(0..self.users.len())]
    }
}
