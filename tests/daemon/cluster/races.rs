//! Two nodes act on the same user or room at the same time.

use std::sync::Barrier;
use std::thread;

use serde_json::json;

use super::trio::Trio;
use crate::support::Daemon;
use crate::support::cluster::{Cluster, LONG_LEASE, cluster_token, join};
use crate::support::http::Client;
use crate::support::redis::Server as Redis;
use crate::support::watcher::Watcher;

/// How often a race is run.
const ROUNDS: usize = 20;

fn caller(node: &Daemon, user: &str) -> Client {
    Client::new(node.http()).with_token(&cluster_token(user))
}

/// A room of a user, and its id.
fn room(node: &Daemon, owner: &str, name: &str, max_participants: Option<u32>) -> String {
    let body = json!({"name": name, "max_participants": max_participants});
    let room = caller(node, owner).post_json("/api/rooms", &body).ok();
    room["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_user_whom_the_balancer_sends_to_another_node_is_there_once() {
    let mut trio = Trio::start(Cluster::new(LONG_LEASE));
    let before: Vec<usize> = trio.watchers.iter().map(Watcher::changes).collect();
    let earlier = trio.watchers.remove(0);
    trio.enter(1, "alice");
    assert_eq!(earlier.close_code(), 4009);
    earlier.check();
    trio.settle();
    // One leave and one join.
    for (watcher, before) in trio.watchers[..5].iter().zip(&before[1..]) {
        assert_eq!(watcher.changes(), before + 2);
    }
}

#[test]
fn one_of_two_nodes_gives_away_the_last_place_of_a_room() {
    let cluster = Cluster::new(LONG_LEASE);
    let nodes = [cluster.start("one"), cluster.start("two")];
    for round in 0..ROUNDS {
        let room = room(&nodes[0], "alice", &format!("room {round}"), Some(1));
        let (start, path) = (Barrier::new(2), format!("/api/rooms/{room}/join"));
        let statuses = thread::scope(|scope| {
            let join = |node: usize, user: &'static str| {
                let (nodes, start, path) = (&nodes, &start, &path);
                scope.spawn(move || {
                    let caller = caller(&nodes[node], user);
                    start.wait();
                    caller.post(path).status
                })
            };
            let joins = [join(0, "bob"), join(1, "carol")];
            joins.map(|join| join.join().expect("a status"))
        });
        assert!([[200, 409], [409, 200]].contains(&statuses), "{statuses:?}");
        let members = cluster.database().sql(&format!(
            "SELECT count(*) FROM parlor.room_participants WHERE room_id = '{room}' AND left_at IS NULL"
        ));
        assert_eq!(members, "1");
    }
}

#[test]
fn a_user_who_is_disabled_on_one_node_keeps_no_socket_that_opens_on_another() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let rooms: Vec<String> = (0..ROUNDS)
        .map(|round| room(&one, "alice", &format!("room {round}"), None))
        .collect();
    rooms.iter().for_each(|room| join(&two, room, "mallory"));
    let sockets = thread::scope(|scope| {
        let disabling = scope.spawn(|| one.cli_json(&["user", "disable", "mallory"]));
        let mut sockets = Vec::new();
        for room in rooms.iter().cycle() {
            let is_disabled = disabling.is_finished();
            sockets.push(Watcher::connect(two.http(), room, "mallory"));
            if is_disabled && sockets.len() >= ROUNDS {
                break;
            }
        }
        sockets
    });
    let codes: Vec<u16> = sockets.iter().map(Watcher::close_code).collect();
    let is_expected = |code: &&u16| matches!(code, 4005 | 4009);
    assert!(codes.iter().all(|code| is_expected(&code)), "{codes:?}");
    assert_eq!(codes.last(), Some(&4005));
    let rest = two.cli_json(&["sessions", "--all"]);
    assert_eq!(rest, json!([]));
}

#[test]
fn a_user_who_is_disabled_while_a_socket_waits_for_its_entry_does_not_enter() {
    let redis = Redis::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let room = room(&one, "alice", "room", None);
    let code = |user: &str| {
        join(&two, &room, user);
        redis.freeze();
        // The database has admitted the user, and the roster has not.
        let socket = Watcher::connect(two.http(), &room, user);
        thread::scope(|scope| {
            scope.spawn(|| one.cli_json(&["user", "disable", user]));
            two.wait_for_log_of("the end of the access", |line| {
                line.contains("user disabled or deleted by another process") && line.contains(user)
            });
            redis.resume();
            socket.close_code()
        })
    };
    // On a slow machine an entry may time out before.
    let mut codes = ["mallory", "oscar", "trudy"].into_iter().map(code);
    let code = codes.find(|code| *code != 4000);
    assert_eq!(code, Some(4005));
}
