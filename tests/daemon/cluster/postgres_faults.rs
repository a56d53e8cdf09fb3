//! PostgreSQL restarts, or stops for a while. Connected users notice nothing.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde_json::json;

use super::LOBBY;
use super::trio::Trio;
use crate::support::cluster::{Cluster, SHORT_LEASE, cluster_token};
use crate::support::http::Client;
use crate::support::postgres::Server as Postgres;
use crate::support::redis;
use crate::support::watcher::Watcher;
use crate::support::{Daemon, wait_until};

/// The status of a join on a node.
fn join_status(node: &Daemon, user: &str) -> u16 {
    let caller = Client::new(node.http()).with_token(&cluster_token(user));
    caller.post(&format!("/api/rooms/{LOBBY}/join")).status
}

/// Waits until a user can join on each node.
fn wait_for_joins(trio: &Trio) {
    for node in &trio.nodes {
        wait_until("a user can join", || join_status(node, "alice") == 200);
    }
}

/// Messages pass between nodes, joins and chat messages are refused, and nobody sees anybody leave.
fn works_without_postgres(trio: &Trio) {
    for node in &trio.nodes {
        assert_eq!(join_status(node, "grace"), 503);
    }
    let [alice, .., frank] = &trio.watchers[..] else {
        panic!("six users");
    };
    frank.receives(alice, alice.send());
    alice.receives(frank, frank.send());
    let caller = Client::new(trio.nodes[0].http()).with_token(&cluster_token("alice"));
    let path = format!("/api/rooms/{LOBBY}/messages");
    let refused = caller.post_json(&path, &json!({"content": "unheard"}));
    assert_eq!(refused.status, 503);
}

fn survives(stop: impl Fn(&Postgres), resume: impl Fn(&Postgres)) {
    let postgres = Postgres::start();
    let cluster = Cluster::at(postgres, redis::server().database(), SHORT_LEASE);
    let mut trio = Trio::start(cluster);
    trio.say(0, "alice");
    trio.say(2, "frank");
    let before: Vec<usize> = trio.watchers.iter().map(Watcher::changes).collect();
    stop(postgres);
    let outcome = catch_unwind(AssertUnwindSafe(|| works_without_postgres(&trio)));
    // Also after a failure: the database is removed at the end.
    resume(postgres);
    if let Err(failure) = outcome {
        resume_unwind(failure);
    }
    wait_for_joins(&trio);
    let after: Vec<usize> = trio.watchers.iter().map(Watcher::changes).collect();
    assert_eq!(after, before);
    trio.enter(1, "grace");
    trio.say(1, "grace");
    trio.settle();
    // Changes are read again.
    trio.nodes[0].cli_json(&["user", "disable", "grace"]);
    assert_eq!(trio.watchers[6].close_code(), 4005);
}

#[test]
fn connected_users_notice_no_restart_of_postgres() {
    survives(Postgres::kill, Postgres::restart);
}

#[test]
fn connected_users_notice_no_stop_of_postgres() {
    survives(Postgres::freeze, Postgres::resume);
}
