//! The notices of the relay about a call, as extended clients receive them.

use std::time::Duration;

use serde_json::{Value, json};

use super::frame;
use crate::support::Builder;
use crate::support::media::{Call, SSRC};
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

/// The next frame that is not about the quality of links, without its number. The other client reads nothing
/// meanwhile, and may be shown as away.
fn read_other(client: &mut Client) -> Value {
    loop {
        let mut frame = client.read();
        if frame["type"] != "quality" && frame["type"] != "participant-updated" {
            frame.as_object_mut().expect("an object").remove("seq");
            return frame;
        }
    }
}

/// A frame of the server that names nobody.
fn notice(kind: &str) -> Value {
    json!({"type": kind, "roomId": LOBBY, "data": {}})
}

#[test]
fn a_client_that_falls_silent_in_a_call_is_sent_that_its_path_is_lost_and_then_back() {
    let world = start();
    let (mut alice, mut bob) = alice_and_bob(&world);
    for room in [Some(LOBBY), None] {
        let call = call(&world, room);
        call.continue_for(Duration::from_secs(2));
        call.silence_first();
        assert_eq!(read_other(&mut alice), notice("path-lost"), "{room:?}");
        call.resume_first();
        assert_eq!(read_other(&mut alice), notice("path-restored"), "{room:?}");
    }
    alice.send(&frame("message", Some("bob"), &json!("over")));
    assert_eq!(
        read_other(&mut bob)["data"],
        "over",
        "a hint for alice alone"
    );
}

/// The links of a `quality` frame that are of a user and direction.
fn link<'a>(frame: &'a Value, user: &str, direction: &str) -> Option<&'a Value> {
    let links = frame["data"]["links"].as_array()?;
    let mut links = links.iter();
    links.find(|link| link["userId"] == user && link["direction"] == direction)
}

/// Reads on to the next `quality` frame about a user and direction, and returns its link.
fn read_link(client: &mut Client, user: &str, direction: &str) -> Value {
    loop {
        let frame = client.read();
        if let Some(link) = link(&frame, user, direction) {
            return link.clone();
        }
    }
}

#[test]
fn a_room_learns_of_an_upload_that_loses_packets_and_that_it_is_good_again() {
    let world = start();
    let (mut alice, mut bob) = alice_and_bob(&world);
    let call = call(&world, Some(LOBBY));
    call.lose_one_of(10);
    for client in [&mut alice, &mut bob] {
        let link = read_link(client, "alice", "up");
        assert_eq!(link["level"], "bad", "{link}");
        let loss = link["lossPct"].as_f64().expect("a number");
        assert!((8.0..12.0).contains(&loss), "{link}");
        assert!(link["kbps"].is_u64() && link["silentMs"].is_u64(), "{link}");
    }
    call.lose_one_of(0);
    while read_link(&mut bob, "alice", "up")["level"] != "good" {}
    let metrics = crate::support::http::Client::new(world.daemon.metrics());
    let metrics = String::from_utf8(metrics.get("/metrics").body).expect("text");
    for name in [
        "parlor_link_loss_ratio_bucket{le=\"+Inf\",direction=\"up\"}",
        "parlor_link_jitter_seconds_count{direction=\"up\"}",
        "parlor_link_loss_ratio_count{direction=\"down\"}",
        "parlor_link_round_trip_seconds_count",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}

#[test]
fn a_room_learns_of_a_download_whose_client_reports_losses() {
    let world = start();
    let (_alice, mut bob) = alice_and_bob(&world);
    let call = call(&world, Some(LOBBY));
    for number in 0..60 {
        call.continue_for(Duration::from_millis(1100));
        let (packets, lost) = (call.sent(), call.sent() / 4);
        let stream = json!({"ssrc": SSRC, "packets": packets, "lost": lost, "jitterMs": 3.5});
        let mut stats = frame("stats", None, &json!({"received": [stream]}));
        stats["id"] = number.to_string().into();
        bob.send(&stats);
        let reported = loop {
            let answer = bob.read();
            if answer["type"] == "ack" {
                assert_eq!(answer["ref"], stats["id"]);
                break None;
            }
            if let Some(link) = link(&answer, "bob", "down") {
                break Some(link.clone());
            }
        };
        if let Some(link) = reported {
            assert_eq!(
                (&link["level"], &link["jitterMs"]),
                (&json!("bad"), &json!(3.5))
            );
            return;
        }
    }
    panic!("no frame about the losses");
}

#[test]
fn statistics_without_an_id_are_not_answered_and_too_many_are_rejected() {
    let world = start();
    let (mut alice, _bob) = alice_and_bob(&world);
    let stats = frame("stats", None, &json!({"received": []}));
    let mut last = frame("stats", None, &json!({"received": [{"ssrc": -1}]}));
    last["id"] = "last".into();
    alice.send(&stats);
    alice.send(&last);
    let answer = alice.read();
    assert_eq!(
        (&answer["ref"], &answer["data"]["code"]),
        (&json!("last"), &json!("bad-data"))
    );
    for _ in 0..100 {
        alice.send(&stats);
    }
    let answer = alice.read();
    assert_eq!(answer["data"]["code"], "rate-limited", "{answer}");
}
