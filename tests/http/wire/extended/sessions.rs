//! Sessions that outlive their connections.

use std::time::Duration;

use parlor::clock::now;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Known, frame, resume};
use crate::wire::world::{Client, LOBBY, World, offer, presence};

/// A connection with the token of a session that is over gets a `welcome`.
fn begins_anew(world: &World, user: &str, known: &Known) -> (Client, Value) {
    let mut client = world.connect_extended(&known.path(), user);
    let welcome = client.read();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    (client, welcome["data"].clone())
}

/// Alice and the data of her `welcome`, and bob, who has seen her join.
fn enter_both(world: &World) -> (Client, Value, Client) {
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let (alice, welcome) = world.enter_extended(LOBBY, "alice");
    assert_eq!(bob.read()["from"], "alice");
    (alice, welcome, bob)
}

/// Waits until the room has handled all that the client has sent.
fn pass(client: &mut Client) {
    client.send(&frame("message", Some("bob"), &json!("pass")));
    assert_eq!(client.read()["data"], "pass");
}

#[test]
fn a_lost_connection_is_resumed_and_misses_nothing() {
    let world = World::start();
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let mut plain = world.enter(LOBBY, "plain");
    assert_eq!(bob.read()["from"], "plain");
    let (mut alice, welcome) = world.enter_extended(LOBBY, "alice");
    assert_eq!(welcome["resume"]["within"], 30);
    assert_eq!(bob.read()["from"], "alice");
    assert_eq!(plain.read(), presence("user-joined", "alice", LOBBY));
    bob.send(&offer("bob", Some("alice"), "1"));
    assert_eq!(alice.read()["seq"], 1);
    let mut known = Known::of(&welcome, 1);
    // Sent, and not read by the client.
    bob.send(&offer("bob", Some("alice"), "2"));
    pass(&mut bob);
    alice.vanish();
    bob.send(&offer("bob", Some("alice"), "3"));
    pass(&mut bob);
    plain.send(&offer("plain", None, "4"));
    assert_eq!(bob.read()["data"]["sdp"], "4");
    let (mut alice, resumed) = resume(&world, "alice", &known);
    assert_eq!(resumed["missed"], 3);
    for (seq, sdp) in [(2, "2"), (3, "3"), (4, "4")] {
        let missed = alice.read();
        assert_eq!(
            (&missed["seq"], &missed["data"]["sdp"]),
            (&json!(seq), &json!(sdp))
        );
    }
    // Nobody has seen anything of it.
    alice.send(&offer("alice", None, "back"));
    assert_eq!(bob.read()["data"]["sdp"], "back");
    assert_eq!(plain.read(), offer("alice", None, "back"));
    // The earlier token is over, the new one is good, and frames that were received do not come again.
    alice.vanish();
    let earlier = known.path();
    known = Known::of(&resumed, 4);
    let (mut alice, resumed) = resume(&world, "alice", &known);
    assert_eq!(resumed["missed"], 0);
    bob.send(&offer("bob", Some("alice"), "5"));
    assert_eq!(alice.read()["seq"], 5);
    alice.send(&offer("alice", Some("bob"), "6"));
    assert_eq!(bob.read()["data"]["sdp"], "6");
    // An attempt with it is one that the client has given up, and changes nothing.
    let mut late = world.connect_extended(&known.path(), "alice");
    assert_eq!(late.close_code(), 4009);
    let mut late = world.connect_extended(&earlier, "alice");
    assert_eq!(late.read()["type"], "welcome");
    assert_eq!(alice.close_code(), 4009);
    assert_eq!(bob.read()["type"], "user-left");
    assert_eq!(bob.read()["type"], "user-joined");
}

/// A client reconnects twice with one token, and the first attempt arrives last.
#[test]
fn a_late_attempt_takes_nothing_from_a_client_that_has_a_newer_token() {
    let world = World::start();
    let (alice, welcome, mut bob) = enter_both(&world);
    let known = Known::of(&welcome, 0);
    alice.vanish();
    let (mut alice, resumed) = resume(&world, "alice", &known);
    // Before the client has answered anything, nobody knows which attempt is the later one. The overtaken client comes
    // again with its own token.
    let (_late, _) = resume(&world, "alice", &known);
    assert_eq!(alice.close_code(), 4000);
    let (mut alice, _) = resume(&world, "alice", &Known::of(&resumed, 0));
    alice.send(&offer("alice", Some("bob"), "1"));
    assert_eq!(bob.read()["data"]["sdp"], "1");
    let confirmed = Known::of(&resumed, 0);
    let mut late = world.connect_extended(&confirmed.path(), "alice");
    assert_eq!(late.close_code(), 4009);
    bob.send(&offer("bob", Some("alice"), "2"));
    assert_eq!(alice.read()["data"]["sdp"], "2");
}

/// The answer ends the earlier token.
#[test]
fn a_resumed_client_gets_a_ping_at_once() {
    let world = World::with(&[("PARLOR_SIGNALING__PING_INTERVAL", "1h")]);
    let (alice, welcome) = world.enter_extended(LOBBY, "alice");
    let known = Known::of(&welcome, 0);
    alice.vanish();
    let (mut alice, _) = resume(&world, "alice", &known);
    assert!(matches!(alice.next(), Message::Ping(_)));
}

#[test]
fn a_lost_resumed_frame_is_no_loss() {
    let world = World::start();
    let (alice, welcome, mut bob) = enter_both(&world);
    let known = Known::of(&welcome, 0);
    alice.vanish();
    bob.send(&offer("bob", Some("alice"), "1"));
    pass(&mut bob);
    for _ in 0..3 {
        // The client never learns the new token.
        let (client, resumed) = resume(&world, "alice", &known);
        assert_eq!(resumed["missed"], 1);
        client.vanish();
    }
    let (mut alice, _) = resume(&world, "alice", &known);
    assert_eq!(alice.read()["data"]["sdp"], "1");
}

#[test]
fn a_resume_takes_over_from_a_connection_that_looks_alive() {
    let world = World::start();
    let (mut alice, welcome, mut bob) = enter_both(&world);
    let mut known = Known::of(&welcome, 0);
    // More often than connections may replace each other.
    for number in 0..6 {
        let (client, resumed) = resume(&world, "alice", &known);
        assert_eq!(alice.close_code(), 4009);
        alice = client;
        known = Known::of(&resumed, number);
        bob.send(&offer("bob", None, "hello"));
        let seq = alice.read()["seq"].as_u64().expect("a number");
        known.seq = seq;
    }
    alice.send(&offer("alice", None, "once"));
    assert_eq!(bob.read()["data"]["sdp"], "once");
}

#[test]
fn people_who_are_away_for_longer_are_shown_so_once() {
    let world = World::with(&[("PARLOR_SIGNALING__RESUME_GRACE", "6s")]);
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let mut plain = world.enter(LOBBY, "plain");
    assert_eq!(bob.read()["from"], "plain");
    let (alice, welcome) = world.enter_extended(LOBBY, "alice");
    assert_eq!(welcome["resume"]["within"], 6);
    assert_eq!(bob.read()["from"], "alice");
    assert_eq!(plain.read()["from"], "alice");
    let known = Known::of(&welcome, 0);
    let lost = now().mono;
    alice.vanish();
    let away = bob.read();
    assert_eq!(away["type"], "participant-updated");
    assert_eq!(away["data"]["userId"], "alice");
    assert_eq!(away["data"]["connected"], false);
    assert!(now().mono.since(lost) >= Duration::from_secs(3));
    let (_carol, welcome) = world.enter_extended(LOBBY, "carol");
    assert_eq!(welcome["participants"][2]["connected"], false);
    assert_eq!(bob.read()["from"], "carol");
    assert_eq!(plain.read()["from"], "carol");
    let (alice, resumed) = resume(&world, "alice", &known);
    assert_eq!(bob.read()["data"]["connected"], true);
    alice.vanish();
    assert_eq!(bob.read()["data"]["connected"], false);
    let left = bob.read();
    assert_eq!(left["type"], "user-left");
    assert_eq!(left["data"], json!({"userId": "alice", "reason": "lost"}));
    assert_eq!(plain.read(), presence("user-left", "alice", LOBBY));
    let known = Known::of(&resumed, 1);
    let (_alice, welcome) = begins_anew(&world, "alice", &known);
    assert_eq!(welcome["participants"].as_array().map(Vec::len), Some(4));
    assert_eq!(bob.read()["type"], "user-joined");
}

#[test]
fn a_session_ends_at_once_where_it_should() {
    let world = World::start();
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let mut reason = |left: &str| {
        assert_eq!(bob.read()["type"], "user-joined");
        let frame = bob.read();
        assert_eq!(
            (&frame["type"], &frame["data"]["reason"]),
            (&json!("user-left"), &json!(left))
        );
    };
    for code in [1000, 1001] {
        let (mut alice, welcome) = world.enter_extended(LOBBY, "alice");
        alice.close(code);
        reason("left");
        let (mut alice, _) = begins_anew(&world, "alice", &Known::of(&welcome, 0));
        alice.close(1000);
        reason("left");
    }
    let (mut alice, welcome) = world.enter_extended(LOBBY, "alice");
    world.leave(LOBBY, "alice");
    assert_eq!(alice.close_code(), 4003);
    reason("left");
    world.join(LOBBY, "alice");
    let (mut alice, _) = begins_anew(&world, "alice", &Known::of(&welcome, 0));
    for _ in 0..101 {
        alice.send_text("hello");
    }
    assert_eq!(alice.close_code(), 4008);
    reason("lost");
    // Another code is a loss, and the session continues.
    let (mut alice, welcome) = world.enter_extended(LOBBY, "alice");
    alice.close(3000);
    let (_alice, _) = resume(&world, "alice", &Known::of(&welcome, 0));
}

#[test]
fn a_removal_ends_a_session_without_a_connection() {
    let world = World::start();
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let (alice, welcome) = world.enter_extended(LOBBY, "alice");
    assert_eq!(bob.read()["type"], "user-joined");
    alice.vanish();
    world.daemon.cli_json(&["room", "kick", LOBBY, "alice"]);
    let left = bob.read();
    assert_eq!(left["type"], "user-left");
    assert_eq!(left["data"]["reason"], "kicked");
    let mut alice = world.connect_extended(&Known::of(&welcome, 0).path(), "alice");
    assert_eq!(alice.close_code(), 4005);
}

#[test]
fn a_token_is_of_its_user_its_room_and_its_numbers() {
    let world = World::start();
    let (mut bob, own) = world.enter_extended(LOBBY, "bob");
    let (_alice, welcome) = world.enter_extended(LOBBY, "alice");
    assert_eq!(bob.read()["type"], "user-joined");
    let known = Known::of(&welcome, 0);
    // Not by somebody else.
    let mut mallory = world.connect_extended(&known.path(), "bob");
    assert_eq!(mallory.read()["type"], "welcome");
    assert_eq!(bob.close_code(), 4009);
    // Not for frames that were never sent, and not with another secret.
    for (token, seq) in [
        (known.token.clone(), 1_000),
        (known.token.replace('.', ".A"), 0),
        (
            own["resume"]["token"].as_str().expect("a token").to_owned(),
            0,
        ),
    ] {
        let (mut alice, _) = begins_anew(&world, "alice", &Known { token, seq });
        alice.close(1000);
    }
    let mut alice = world.connect_extended("/api/ws/rooms/lobby?session=x&seq=", "alice");
    assert_eq!(alice.read()["type"], "welcome");
}

#[test]
fn a_client_that_misses_too_much_begins_anew() {
    let world = World::with(&[("PARLOR_SIGNALING__RESUME_BUFFER", "4096")]);
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let (alice, welcome) = world.enter_extended(LOBBY, "alice");
    assert_eq!(bob.read()["type"], "user-joined");
    alice.vanish();
    for _ in 0..5 {
        bob.send(&offer("bob", Some("alice"), &"x".repeat(1_000)));
    }
    pass(&mut bob);
    let (_alice, _) = begins_anew(&world, "alice", &Known::of(&welcome, 0));
    let kinds = [bob.read(), bob.read()].map(|frame| frame["type"].clone());
    assert_eq!(kinds, ["user-left", "user-joined"]);
}

#[test]
fn pongs_and_seen_acknowledge_frames() {
    let world = World::with(&[("PARLOR_SIGNALING__RESUME_BUFFER", "8192")]);
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let (mut alice, welcome) = world.enter_extended(LOBBY, "alice");
    assert_eq!(bob.read()["type"], "user-joined");
    bob.send(&offer("bob", Some("alice"), "1"));
    assert_eq!(alice.read()["seq"], 1);
    // A ping with the number of the last frame comes soon; without frames it would take 20 s.
    let started = now().mono;
    let ping = loop {
        match alice.next() {
            Message::Ping(payload) => break payload,
            other => assert!(!other.is_close(), "{other:?}"),
        }
    };
    assert!(now().mono.since(started) < Duration::from_secs(15));
    assert_eq!(ping[4..], 1u64.to_be_bytes());
    // tungstenite sends its pong with the next frame.
    alice.send(&frame("message", Some("alice"), &json!(null)));
    assert_eq!(alice.read()["seq"], 2);
    let known = Known::of(&welcome, 0);
    alice.vanish();
    let (mut alice, welcome) = begins_anew(&world, "alice", &known);
    let kinds = [bob.read(), bob.read()].map(|frame| frame["type"].clone());
    assert_eq!(kinds, ["user-left", "user-joined"]);
    bob.send(&offer("bob", Some("alice"), "2"));
    assert_eq!(alice.read()["seq"], 1);
    alice.send(&frame("seen", None, &json!({"seq": 1})));
    alice.send(&frame("message", Some("alice"), &json!(null)));
    assert_eq!(alice.read()["seq"], 2);
    alice.vanish();
    let known = Known::of(&welcome, 0);
    let (_alice, _) = begins_anew(&world, "alice", &known);
}

#[test]
fn two_hundred_clients_return_and_nobody_sees_them_leave() {
    let world = World::with(&[
        ("PARLOR_HTTP__MAX_CONNECTIONS_PER_ADDRESS", "1000"),
        // The clients answer no pings while the others enter.
        ("PARLOR_SIGNALING__PING_TIMEOUT", "10m"),
    ]);
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let users: Vec<String> = (0..200).map(|number| format!("user-{number}")).collect();
    let mut clients = Vec::new();
    let mut sessions = Vec::new();
    for user in &users {
        let (client, welcome) = world.enter_extended(LOBBY, user);
        clients.push(client);
        sessions.push(Known::of(&welcome, 0));
        assert_eq!(bob.read()["from"], user.as_str());
    }
    drop(clients);
    let mut clients = Vec::new();
    for (number, (user, known)) in users.iter().zip(&sessions).enumerate() {
        let (client, resumed) = resume(&world, user, known);
        let later = users.len() - 1 - number;
        // Somebody may have been away for more than three seconds.
        assert!(
            resumed["missed"].as_u64() >= Some(later as u64),
            "{user} {resumed}"
        );
        clients.push(client);
    }
    pass_over_updates(&mut bob);
}

/// Reads up to a message of one's own: people may only have been shown as away, and then back.
fn pass_over_updates(bob: &mut Client) {
    bob.send(&frame("message", Some("bob"), &json!("pass")));
    let mut away = std::collections::BTreeSet::new();
    loop {
        let frame = bob.read();
        if frame["type"] == "message" {
            break;
        }
        assert_eq!(frame["type"], "participant-updated", "{frame}");
        let user = frame["from"].to_string();
        let is_back = frame["data"]["connected"] == true;
        assert_eq!(is_back, away.remove(&user), "{frame}");
        if !is_back {
            away.insert(user);
        }
    }
    assert!(away.is_empty(), "{away:?}");
}
