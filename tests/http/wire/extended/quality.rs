//! The notices of the relay about a call, as extended clients receive them.

use std::time::Duration;

use serde_json::{Value, json};

use super::frame;
use crate::support::Builder;
use crate::support::media::Call;
use crate::support::turn::{self, Client as Relayed};
use crate::wire::world::{Client, LOBBY, SECRET, World};

/// A server alone, whose relay the test reaches.
fn start() -> World {
    let builder = Builder::new()
        .env("SECRET_KEY", SECRET)
        .env("PARLOR_AUTH__PROVISION_USERS", "true")
        .env("PARLOR_TURN__SECRET", turn::SECRET);
    World::of(builder.start())
}

/// Alice and bob in the room, each having seen the other come.
fn alice_and_bob(world: &World) -> (Client, Client) {
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let (bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["type"], "user-joined");
    (alice, bob)
}

/// A call of alice and bob with credentials for this room.
fn call(world: &World, room: Option<&str>) -> Call {
    let relayed = |user| Relayed::udp(world.daemon.turn(), user, room);
    Call::start(relayed("alice"), relayed("bob"))
}

/// A frame of the server that names nobody.
fn notice(seq: u64, kind: &str) -> Value {
    json!({"seq": seq, "type": kind, "roomId": LOBBY, "data": {}})
}

#[test]
fn a_client_that_falls_silent_in_a_call_is_sent_that_its_path_is_lost_and_then_back() {
    let world = start();
    let (mut alice, mut bob) = alice_and_bob(&world);
    for (seq, room) in [(2, Some(LOBBY)), (4, None)] {
        let call = call(&world, room);
        call.continue_for(Duration::from_secs(2));
        call.silence_first();
        assert_eq!(alice.read(), notice(seq, "path-lost"), "{room:?}");
        call.resume_first();
        assert_eq!(alice.read(), notice(seq + 1, "path-restored"), "{room:?}");
    }
    alice.send(&frame("message", Some("bob"), &json!("over")));
    assert_eq!(bob.read()["data"], "over", "a hint for alice alone");
}
