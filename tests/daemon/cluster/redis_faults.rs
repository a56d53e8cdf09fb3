//! Redis loses everything, stops for a while, or closes its connections. Nobody who stays connected leaves a room.

use std::thread;
use std::time::Duration;

use super::trio::Trio;
use super::{LOBBY, readiness};
use crate::support::cluster::{Cluster, SHORT_LEASE};
use crate::support::redis::Server as Redis;
use crate::support::watcher::Watcher;

const AWAY: &str = "no node reaches Redis: new WebSockets are refused";

/// The number of joins and leaves that each client has received.
fn changes(watchers: &[Watcher]) -> Vec<usize> {
    watchers.iter().map(Watcher::changes).collect()
}

/// Waits until each node reports this of Redis, and answers 200.
#[track_caller]
fn all_are_ready(trio: &Trio, redis: &str) {
    for node in &trio.nodes {
        assert_eq!(readiness(node, redis), 200);
    }
}

#[test]
fn nobody_leaves_when_redis_is_killed_and_starts_empty() {
    let redis = Redis::start();
    let mut trio = Trio::start(Cluster::on(&redis, SHORT_LEASE));
    let before = changes(&trio.watchers);
    redis.kill();
    all_are_ready(&trio, AWAY);
    // Users of one node still hear each other, and newcomers are refused.
    trio.watchers[1].receives(&trio.watchers[0], trio.watchers[0].send());
    let refused = Watcher::join(trio.nodes[0].http(), LOBBY, "alice");
    assert_eq!(refused.close_code(), 4000);
    trio.say(1, "carol");
    redis.restart();
    all_are_ready(&trio, "ok");
    trio.settle();
    assert_eq!(changes(&trio.watchers), before);
}

#[test]
fn a_user_who_leaves_while_redis_is_away_has_left_afterwards() {
    let redis = Redis::start();
    let mut trio = Trio::start(Cluster::on(&redis, SHORT_LEASE));
    let before = changes(&trio.watchers);
    redis.kill();
    trio.watchers.pop().expect("a user").close();
    trio.watchers[4].knows(["alice", "bob", "carol", "dave"]);
    redis.restart();
    trio.settle();
    let after = changes(&trio.watchers);
    assert_eq!(
        after,
        before
            .iter()
            .map(|count| count + 1)
            .take(5)
            .collect::<Vec<_>>()
    );
}

#[test]
fn nobody_leaves_when_redis_stops_past_the_lease_and_resumes() {
    let redis = Redis::start();
    let trio = Trio::start(Cluster::on(&redis, SHORT_LEASE));
    let before = changes(&trio.watchers);
    redis.freeze();
    all_are_ready(&trio, AWAY);
    redis.resume();
    all_are_ready(&trio, "ok");
    trio.settle();
    assert_eq!(changes(&trio.watchers), before);
}

#[test]
fn connections_that_redis_closes_lose_no_message() {
    let redis = Redis::start();
    let mut trio = Trio::start(Cluster::on(&redis, SHORT_LEASE));
    for round in 0..10 {
        let user = format!("guest{round}");
        let sent: Vec<u64> = trio.watchers.iter().map(Watcher::send).collect();
        redis.kill_connections();
        for watcher in &trio.watchers[1..] {
            watcher.receives(&trio.watchers[0], sent[0]);
        }
        // A newcomer is refused while the node connects again.
        let newcomer = loop {
            match Watcher::try_enter(&trio.nodes[round % 3], LOBBY, &user) {
                Ok(newcomer) => break newcomer,
                Err(code) => assert_eq!(code, 4000),
            }
            thread::sleep(Duration::from_millis(50));
        };
        trio.add(newcomer);
    }
    trio.settle();
}
