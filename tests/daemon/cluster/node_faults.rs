//! A node dies, stops for a while, loses the network, or ends in an orderly way.

use super::LOBBY;
use super::readiness;
use super::trio::Trio;
use crate::support::cluster::{Cluster, LONG_LEASE, SHORT_LEASE};
use crate::support::postgres;
use crate::support::redis::Server as Redis;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::watcher::{NO_CLOSE_FRAME, Watcher, agree};

/// The users of the first two nodes.
const OTHERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Waits until each of these clients knows the others alone.
fn left_alone(watchers: &[Watcher]) {
    for watcher in watchers {
        let others = watchers.iter().map(Watcher::user);
        watcher.knows(others.filter(|user| *user != watcher.user()));
    }
}

#[test]
fn users_of_a_killed_node_leave_and_enter_on_another() {
    let mut trio = Trio::start(Cluster::new(SHORT_LEASE));
    trio.say(2, "erin");
    let before: Vec<usize> = trio.watchers.iter().map(Watcher::changes).collect();
    let killed = trio.nodes.pop().expect("a node");
    killed.signal("KILL");
    for watcher in trio.of_third() {
        assert_eq!(watcher.close_code(), NO_CLOSE_FRAME);
    }
    // One of its users returns before the lease has ended.
    trio.enter(0, "erin");
    left_alone(&trio.watchers);
    trio.enter(1, "frank");
    trio.settle();
    // Each of the others saw both leave and enter, once.
    for (watcher, before) in trio.watchers[..4].iter().zip(before) {
        assert_eq!(watcher.changes(), before + 4);
    }
}

#[test]
fn a_node_that_stops_past_its_lease_returns_with_its_users() {
    let mut trio = Trio::start(Cluster::new(SHORT_LEASE));
    trio.say(2, "frank");
    trio.nodes[2].signal("STOP");
    let [erin, frank] = trio.of_third();
    left_alone(&trio.watchers);
    // One of its users returns to another node meanwhile.
    trio.enter(0, "frank");
    left_alone(&trio.watchers);
    trio.nodes[2].signal("CONT");
    assert_eq!(frank.close_code(), 4009);
    frank.check();
    trio.watchers.push(erin);
    trio.settle();
}

#[test]
fn users_of_a_node_that_is_cut_from_redis_hear_each_other_and_return() {
    let redis = Redis::start();
    let proxy = TcpProxy::start(&redis.socket());
    let database = redis.database();
    let (_, number) = database.split_once("db=").expect("a database");
    let url = format!("redis://{}/{number}", proxy.address());
    let cluster = Cluster::at(postgres::server(), database.clone(), SHORT_LEASE);
    let mut trio = Trio::with(cluster, |number, node| match number {
        2 => node.env("PARLOR_CLUSTER__REDIS_URL", &url),
        _ => node,
    });
    proxy.cut();
    let [erin, frank] = trio.of_third();
    left_alone(&trio.watchers);
    assert_eq!(
        readiness(
            &trio.nodes[2],
            "this node does not reach Redis, and others do"
        ),
        503
    );
    frank.receives(&erin, erin.send());
    trio.say(2, "erin");
    let refused = Watcher::join(trio.nodes[2].http(), LOBBY, "frank");
    assert_eq!(refused.close_code(), 4000);
    // Without Redis they still believe that the others are there.
    erin.knows(OTHERS.into_iter().chain(["frank"]));
    proxy.restore();
    trio.watchers.extend([erin, frank]);
    trio.settle();
    assert_eq!(readiness(&trio.nodes[2], "ok"), 200);
}

#[test]
fn users_of_a_drained_node_go_to_another() {
    let mut trio = Trio::start(Cluster::new(LONG_LEASE));
    let drained = trio.nodes.pop().expect("a node");
    assert!(
        drained
            .cli(&["drain", "--timeout", "3s", "--detach"])
            .status
            .success()
    );
    let gone = trio.of_third();
    for watcher in &gone {
        assert_eq!(watcher.close_code(), 1012);
        watcher.check();
    }
    for watcher in gone {
        trio.enter(0, watcher.user());
        drop(watcher);
    }
    agree(&trio.watchers);
    assert!(drained.wait().success());
    trio.settle();
}
