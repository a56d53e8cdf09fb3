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
    redis_state: Health,
    postgres: &'static postgres::Server,
    postgres_state: Health,
    users: &'a [Arc<User>],
    counts: BTreeMap<&'static str, u32>,
}

struct Node {
    /// Not there only while it is replaced.
    daemon: Option<Daemon>,
    health: Health,
}

impl Drop for Faults<'_> {
    /// A frozen server would hold up the end of a test that has failed.
    fn drop(&mut self) {
        if self.postgres_state == Health::Frozen {
            self.postgres.resume();
        }
        if self.redis_state == Health::Frozen {
            self.redis.resume();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    Frozen,
    Dead,
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
            redis_state: Health::Well,
            postgres,
            postgres_state: Health::Well,
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
        log(name);
        *self.counts.entry(name).or_default() += 1;
    }

    /// `None` if what was selected does not suit.
    fn attempt(&mut self, random: &mut ChaCha12Rng) -> Option<&'static str> {
        let node = random.random_range(0..self.nodes.len());
        // A node that starts needs both servers.
        let is_any_node_dead = self.nodes.iter().any(|node| node.health == Health::Dead);
        let are_servers_well =
            [self.redis_state, self.postgres_state] == [Health::Well, Health::Well];
        match random.random_range(0..10) {
            0 if self.nodes[node].health == Health::Well && are_servers_well => {
                self.daemon(node).signal("KILL");
                self.nodes[node].health = Health::Dead;
                Some("node killed")
            }
            1 if self.nodes[node].health == Health::Well => {
                self.daemon(node).signal("STOP");
                self.nodes[node].health = Health::Frozen;
                Some("node frozen")
            }
            2 if self.nodes[node].health == Health::Well && are_servers_well => {
                let daemon = self.nodes[node].daemon.take().expect("a node");
                self.nodes[node].daemon = Some(daemon.restart());
                Some("node restarted")
            }
            3 if self.redis_state == Health::Well && !is_any_node_dead => {
                self.redis.kill();
                self.redis_state = Health::Dead;
                Some("Redis killed")
            }
            4 if self.redis_state == Health::Well && !is_any_node_dead => {
                self.redis.freeze();
                self.redis_state = Health::Frozen;
                Some("Redis frozen")
            }
            5 if self.redis_state == Health::Well => {
                self.redis.kill_connections();
                Some("connections of Redis killed")
            }
            6 if self.postgres_state == Health::Well && !is_any_node_dead => {
                self.postgres.kill();
                self.postgres_state = Health::Dead;
                Some("PostgreSQL killed")
            }
            7 if self.postgres_state == Health::Well && !is_any_node_dead => {
                self.postgres.freeze();
                self.postgres_state = Health::Frozen;
                Some("PostgreSQL frozen")
            }
            8 => {
                for _ in 0..self.users.len().div_ceil(10) {
                    self.any_user(random).order(Order::Move);
                }
                Some("users moved")
            }
            9 if self.nodes[node].health == Health::Well && self.postgres_state == Health::Well => {
                for _ in 0..self.users.len().div_ceil(50) {
                    self.kick(node, self.any_user(random));
                }
                Some("users kicked")
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
        if self.redis_state != Health::Well && is_over() {
            match self.redis_state {
                Health::Frozen => self.redis.resume(),
                _ => self.redis.restart(),
            }
            self.redis_state = Health::Well;
            log("Redis is well again");
        }
        if self.postgres_state != Health::Well && is_over() {
            match self.postgres_state {
                Health::Frozen => self.postgres.resume(),
                _ => self.postgres.restart(),
            }
            self.postgres_state = Health::Well;
            log("PostgreSQL is well again");
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
