//! A server that is emptied: by a command, and before it ends.

use tokio_tungstenite::tungstenite::Message;

use crate::support::http::Client;
use crate::support::turn;
use crate::world::{LOBBY, World};

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
    let told = world.daemon.cli_json(&["drain", "--timeout", "2s"]);
    assert_eq!(told["connections"], 2);
    assert_eq!(told["relays"], 1);
    world.daemon.wait_for_log("\"draining\"");
    let ready = Client::new(world.daemon.http()).get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(
        ready.json()["detail"]
            .as_str()
            .unwrap()
            .contains("draining")
    );
    world.join(LOBBY, "bob");
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
