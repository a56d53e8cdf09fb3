//! A server that is emptied: by a command, and before it ends.

use std::collections::BTreeSet;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::http::Client;
use crate::support::turn;
use crate::wire::world::{LOBBY, World, presence};

/// With the default, or as it is said.
fn world(timeout: &str) -> World {
    World::with(&[
        ("PARLOR_SERVER__DRAIN_TIMEOUT", timeout),
        ("PARLOR_TURN__SECRET", turn::SECRET),
    ])
}

#[test]
fn a_server_that_drains_takes_nobody_new_lets_calls_finish_and_ends_with_0() {
    let world = world("0s");
    let mut there = turn::Client::udp(world.daemon.turn(), "alice", None);
    there.allocated();
    let mut people = world.lobby(["alice", "carol"]);
    world.join(LOBBY, "bob");
    let progress = world
        .daemon
        .cli_json(&["drain", "--timeout", "2s", "--detach"]);
    assert_eq!(progress["connections"], 2);
    assert_eq!(progress["relays"], 1);
    world.daemon.wait_for_log("\"draining\"");
    let ready = Client::new(world.daemon.http()).get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(
        ready.json()["detail"]
            .as_str()
            .unwrap()
            .contains("draining")
    );
    let mut bob = world.connect(LOBBY, &world.token_for("bob", 3600));
    assert_eq!(bob.close_code(), 1012);
    let mut late = turn::Client::udp(world.daemon.turn(), "bob", None);
    assert_eq!(late.allocate().code(), Some(508));
    // Nobody takes the other for gone, and ends their call.
    for person in &mut people {
        loop {
            match person.next() {
                Message::Text(text) => panic!("{text}"),
                Message::Close(close) => {
                    assert_eq!(close.map(|close| u16::from(close.code)), Some(1012));
                    break;
                }
                _ => {}
            }
        }
    }
    drop(people);
    drop(bob);
    let again = world.daemon.cli(&["drain"]);
    assert!(!again.status.success());
    assert_eq!(world.daemon.wait().code(), Some(0));
}

#[test]
fn a_draining_server_answers_joins_guests_and_logins_with_503() {
    let world = world("0s");
    let mut relay = turn::Client::udp(world.daemon.turn(), "alice", None);
    relay.allocated();
    drain(&world);
    let anonymous = Client::new(world.daemon.http());
    let alice = world.http(&world.token("alice"));
    for (caller, path, body) in [
        (&alice, "/api/rooms/lobby/join", json!({})),
        (
            &anonymous,
            "/api/auth/guest",
            json!({"invite": "x", "name": "Guest"}),
        ),
        (
            &anonymous,
            "/api/auth/login",
            json!({"username": "a", "password": "x"}),
        ),
    ] {
        let answer = caller.post_json(path, &body);
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.json()["code"], "draining", "{path}");
        assert_eq!(answer.header("retry-after"), Some("5"), "{path}");
    }
    // Connected users stay served: an ICE restart needs credentials.
    alice.get("/api/ice-servers").ok();
}

#[test]
fn no_token_is_judged_while_the_server_drains() {
    let world = world("0s");
    let mut relay = turn::Client::udp(world.daemon.turn(), "alice", None);
    relay.allocated();
    drain(&world);
    for token in [world.token("nobody-who-joined"), "no token".to_owned()] {
        assert_eq!(
            world.connect(LOBBY, &token.replace(' ', "")).close_code(),
            1012
        );
    }
}

#[test]
fn a_roster_read_while_draining_is_unknown_and_calls_nobody_absent_who_has_not_left() {
    let world = world("0s");
    let mut relay = turn::Client::udp(world.daemon.turn(), "alice", None);
    relay.allocated();
    world.join(LOBBY, "absent");
    let [mut alice, bob, mut carol, mut dave] = world.lobby(["alice", "bob", "carol", "dave"]);
    let roster = || {
        let roster = world
            .http(&world.token("alice"))
            .get("/api/rooms/lobby/participants");
        let roster = roster.ok();
        let people = roster["participants"].as_array().unwrap();
        let connected = people.iter().filter(|one| one["connected"] == true);
        let connected: BTreeSet<_> = connected
            .map(|one| one["user_id"].as_str().unwrap().to_owned())
            .collect();
        (roster["presence"].clone(), people.len(), connected)
    };
    let all = BTreeSet::from(["alice", "bob", "carol", "dave"].map(str::to_owned));
    assert_eq!(roster(), (json!("known"), 5, all.clone()));
    drain(&world);

    // One loses the connection, one sends a close frame, one leaves over HTTP.
    drop(bob);
    world.daemon.wait_for_log("\"by\":\"network\"");
    assert_eq!(roster(), (json!("unknown"), 5, all.clone()));
    dave.socket.close(None).unwrap();
    assert_eq!(alice.read(), presence("user-left", "dave", LOBBY));
    assert_eq!(carol.read(), presence("user-left", "dave", LOBBY));
    world.leave(LOBBY, "bob");
    assert_eq!(alice.read(), presence("user-left", "bob", LOBBY));
    let left = BTreeSet::from(["alice", "carol"].map(str::to_owned));
    assert_eq!(roster(), (json!("unknown"), 4, left));
}

/// A timeout longer than any test; the daemon is killed at the end of the test.
fn drain(world: &World) {
    world
        .daemon
        .cli_json(&["drain", "--timeout", "10000h", "--detach"]);
    world.daemon.wait_for_log("\"draining\"");
}

#[test]
fn without_anybody_a_drain_ends_at_once() {
    let world = world("1h");
    world.daemon.signal("TERM");
    assert_eq!(world.daemon.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let world = world("1h");
    let mut there = turn::Client::udp(world.daemon.turn(), "alice", None);
    there.allocated();
    world.daemon.signal("TERM");
    world.daemon.wait_for_log("\"draining\"");
    world.daemon.signal("TERM");
    assert_eq!(world.daemon.wait().code(), Some(0));
}
