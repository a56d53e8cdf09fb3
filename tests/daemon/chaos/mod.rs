//! A cluster under faults at random: nodes, Redis and PostgreSQL are killed, frozen and restarted, and users are moved
//! and kicked, while plain clients check each message that they receive.
//!
//! `./tests/run` does a little of it; `tests/long/cluster` does it for long, with more nodes and clients. Variables:
//! `CHAOS_NODES`, `CHAOS_USERS`, `CHAOS_ROUNDS` (each ends with a check that all is well), `CHAOS_FAULTS` (per round),
//! `CHAOS_PAUSE_MS` (between faults), `CHAOS_SEED`.

mod check;
mod faults;
mod rolling;
mod user;
mod writer;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;

use self::faults::Faults;
use self::user::User;
use self::writer::Writer;
use crate::support::cluster::{Cluster, SHORT_LEASE, join};
use crate::support::{Builder, Daemon, postgres, redis};

/// Members of a room.
const ROOM_SIZE: usize = 8;
/// Time from a fault to the next one.
const FAULT_PAUSE: Duration = Duration::from_secs(3);

/// The nodes, as users know them, and broken rules.
struct Shared {
    nodes: Vec<SocketAddr>,
    /// Broken rules.
    violations: Mutex<Vec<String>>,
}

impl Shared {
    fn new<'a>(nodes: impl Iterator<Item = &'a Daemon>) -> Arc<Shared> {
        Arc::new(Shared {
            nodes: nodes.map(Daemon::http).collect(),
            violations: Mutex::default(),
        })
    }

    fn any_node(&self) -> SocketAddr {
        self.nodes[rand::rng().random_range(0..self.nodes.len())]
    }

    /// Milliseconds since an arbitrary start, for reports.
    fn time() -> u64 {
        parlor::clock::now().mono.0 / 1_000_000
    }

    fn violation(&self, text: String) {
        self.violations.lock().unwrap().push(text);
    }

    fn assert_no_violation(&self) {
        let violations = self.violations.lock().unwrap();
        let shown = &violations[..violations.len().min(20)];
        assert!(
            violations.is_empty(),
            "{} violations: {shown:#?}",
            violations.len()
        );
    }
}

#[test]
fn after_faults_at_random_all_clients_know_each_other_and_nothing_acknowledged_is_lost() {
    let seed = number("CHAOS_SEED", 3);
    let rounds = number("CHAOS_ROUNDS", 1);
    let faults_per_round = number("CHAOS_FAULTS", 6);
    let pause = Duration::from_millis(number("CHAOS_PAUSE_MS", FAULT_PAUSE.as_millis() as u64));
    let mut random = ChaCha12Rng::seed_from_u64(seed);

    let postgres = postgres::Server::start();
    let redis = redis::Server::start();
    let cluster = Cluster::at(postgres, redis.database(), SHORT_LEASE);
    let nodes: Vec<Daemon> = (0..number("CHAOS_NODES", 3))
        .map(|number| with_limits(cluster.node(&format!("n{number}"))).start())
        .collect();
    let shared = Shared::new(nodes.iter());
    let users = users(&nodes[0], number("CHAOS_USERS", 24) as usize);

    let _runtime = start(&users, &shared);
    let writer = Writer::start(shared.clone(), &users);
    check::wait_until_well(&users, "at the start");
    let mut faults = Faults::new(nodes, &redis, postgres, &users);
    for round in 1..=rounds {
        for _ in 0..faults_per_round {
            faults.heal_some(&mut random);
            faults.begin(&mut random);
            thread::sleep(pause);
            shared.assert_no_violation();
        }
        faults.heal_all();
        check::wait_until_well(&users, &format!("round {round}, seed {seed}"));
        shared.assert_no_violation();
        let written = writer.check(cluster.database());
        println!(
            "round {round} of {rounds}: {}; {written} messages stored",
            faults.summary()
        );
    }
}

/// Lets users connect, until the runtime is dropped.
fn start(users: &[Arc<User>], shared: &Arc<Shared>) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for user in users {
        runtime.spawn(user.clone().live(shared.clone()));
    }
    runtime
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// Without limits for one user that random faults exceed.
fn with_limits(node: Builder) -> Builder {
    node.env("PARLOR_ROOMS__MAX_MESSAGES", "0")
        .env("PARLOR_ROOMS__KICK_COOLDOWN", "0s")
        .env("PARLOR_LOG__LEVEL", "info")
}

/// Users, each a member of one room.
fn users(node: &Daemon, count: usize) -> Vec<Arc<User>> {
    let users: Vec<_> = (0..count)
        .map(|number| User::new(&format!("u{number}"), &format!("r{}", number / ROOM_SIZE)))
        .collect();
    for (number, user) in users.iter().enumerate() {
        if number % ROOM_SIZE == 0 {
            node.cli_json(&["room", "create", &user.room, "--id", &user.room]);
        }
        join(node, &user.room, &user.name);
    }
    users
}
