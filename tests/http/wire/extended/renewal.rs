//! Tokens and ICE servers that end while a session lasts.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_tungstenite::tungstenite::Message;

use super::frame;
use crate::wire::world::{Client, LOBBY, World, now};

const PATH: &str = "/api/ws/rooms/lobby";

/// A client with a token of this many seconds; also returns the data of the `welcome`.
fn enter_for(world: &World, user: &str, seconds: i64) -> (Client, Value) {
    world.join(LOBBY, user);
    let mut client = world.connect_extended_with(PATH, &world.token_for(user, seconds));
    let welcome = client.read();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    (client, welcome["data"].clone())
}

/// Reads a warning that the token ends within this many seconds.
fn reads_warning(client: &mut Client, seq: u64, within: u64) {
    let warning = client.read();
    let left = warning["data"]["in"].as_u64().expect("seconds");
    assert!(left <= within, "{warning}");
    let expected =
        json!({"seq": seq, "type": "token-expiring", "roomId": LOBBY, "data": {"in": left}});
    assert_eq!(warning, expected);
}

#[test]
fn the_end_of_the_token_ends_the_connection_after_a_warning() {
    let world = World::start();
    let mut plain = world.enter(LOBBY, "plain");
    let mut plain_bob = {
        world.join(LOBBY, "bob");
        world.connect(LOBBY, &world.token_for("bob", 4))
    };
    assert_eq!(plain.read()["from"], "bob");
    let (mut alice, _) = enter_for(&world, "alice", 4);
    reads_warning(&mut alice, 1, 4);
    assert_eq!(alice.close_code(), 4001);
    // A plain connection stays, and gets no warning.
    for client in [&mut plain, &mut plain_bob] {
        assert_eq!(client.read()["type"], "user-joined");
        assert_eq!(client.read()["type"], "user-left");
    }
    // The session has ended with the token.
    plain_bob.send(&frame("offer", None, &json!("still here")));
    assert_eq!(plain.read()["data"], "still here");
}

#[test]
fn a_guest_is_warned_before_the_end_of_the_access() {
    let world = World::with(&[
        ("PARLOR_AUTH__TOKEN_TTL", "4s"),
        ("PARLOR_TURN__CREDENTIAL_TTL", "5s"),
    ]);
    let token = world.join_as_guest();
    let mut guest = world.connect_extended_with(PATH, &token);
    assert_eq!(guest.read()["type"], "welcome");
    reads_warning(&mut guest, 1, 4);
    // Nothing else before: later ICE servers would end at the same time.
    match guest.next() {
        Message::Close(Some(close)) => assert_eq!(u16::from(close.code), 4001),
        other => panic!("{other:?} instead of a close frame"),
    }
}

/// A guest's session, whose access ends so many seconds from now; also the data of its `welcome` and the token.
fn enter_as_guest(world: &World, seconds: i64) -> (Client, Value, String) {
    let token = world.join_as_guest();
    let until = OffsetDateTime::from_unix_timestamp(now() + seconds).expect("a time");
    let until = until.format(&Rfc3339).expect("a text");
    world.write_outside(&format!(
        "UPDATE users SET guest_until = '{until}' WHERE guest_until IS NOT NULL"
    ));
    let mut client = world.connect_extended_with(PATH, &token);
    let welcome = client.read();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    (client, welcome["data"].clone(), token)
}

/// A fresh token for the same user.
fn refreshed(world: &World, token: &str) -> Value {
    let fresh = world.http(token).post("/api/auth/refresh").ok();
    json!({"token": fresh["access_token"]})
}

#[test]
fn the_call_of_a_guest_survives_the_end_of_token_and_credential() {
    let world = World::start();
    let (mut guest, welcome, token) = enter_as_guest(&world, 10);
    reads_warning(&mut guest, 1, 10);
    let first = credential(&welcome["iceServers"]);
    guest.send(&frame("token", None, &refreshed(&world, &token)));
    // Also the credential lasts longer now, and nothing warns of the end of the token.
    let servers = guest.read();
    assert_eq!(
        (&servers["type"], &servers["seq"]),
        (&json!("ice-servers"), &json!(2))
    );
    assert!(credential(&servers["data"]).1 > first.1);
    let id = &welcome["userId"];
    let end = OffsetDateTime::parse(&first.1, &Rfc3339).expect("a time");
    while now() <= end.unix_timestamp() + 1 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let raised =
        json!({"type": "update", "from": id, "roomId": LOBBY, "data": {"handRaised": true}});
    guest.send(&raised);
    let update = guest.read();
    assert_eq!(
        (&update["type"], &update["seq"]),
        (&json!("participant-updated"), &json!(3))
    );
}

#[test]
fn a_guest_with_a_revoked_invite_gets_no_longer_access_by_another_token() {
    let world = World::start();
    let (mut guest, _, token) = enter_as_guest(&world, 10);
    reads_warning(&mut guest, 1, 10);
    world
        .daemon
        .change("UPDATE room_invites SET revoked_at = created_at");
    guest.send(&frame("token", None, &refreshed(&world, &token)));
    assert_eq!(guest.close_code(), 4001);
}

#[test]
fn a_resumed_session_is_warned_again() {
    let world = World::start();
    let (mut alice, welcome) = enter_for(&world, "alice", 30);
    reads_warning(&mut alice, 1, 30);
    alice.vanish();
    let resume = welcome["resume"]["token"].as_str().expect("a token");
    let path = format!("{PATH}?session={resume}&seq=1");
    let mut alice = world.connect_extended_with(&path, &world.token_for("alice", 20));
    let resumed = alice.read();
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    reads_warning(&mut alice, 2, 20);
    // With a token that lasts, there is no warning: the next frame is another one.
    alice.vanish();
    let resume = resumed["data"]["resume"]["token"]
        .as_str()
        .expect("a token");
    let path = format!("{PATH}?session={resume}&seq=2");
    let mut alice = world.connect_extended(&path, "alice");
    assert_eq!(alice.read()["type"], "resumed");
    alice.send(&json!({"type": "dance", "from": 1, "roomId": 1}));
    assert_eq!(alice.read()["type"], "error");
}

/// The name and the end of the credential in ICE servers.
fn credential(servers: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let username = text(&servers["iceServers"][1]["username"]);
    (username, text(&servers["expiresAt"]))
}

#[test]
fn fresh_ice_servers_come_before_the_earlier_ones_expire() {
    let world = World::with(&[("PARLOR_TURN__CREDENTIAL_TTL", "4s")]);
    let (mut alice, welcome) = world.enter_extended(LOBBY, "alice");
    let mut known = BTreeSet::from([credential(&welcome["iceServers"])]);
    for seq in 1..=2 {
        let fresh = alice.read();
        assert_eq!(
            (&fresh["type"], &fresh["seq"], &fresh["roomId"]),
            (&json!("ice-servers"), &json!(seq), &json!(LOBBY))
        );
        let http = world.http(&world.token("alice"));
        let fetched = http.get("/api/ice-servers?room=lobby").json();
        let mut expected = fetched.clone();
        for key in ["iceServers", "expiresAt", "ttl"] {
            expected[key] = fresh["data"][key].clone();
        }
        assert_eq!(fresh["data"], expected);
        let (own, fetched) = (&fresh["data"]["iceServers"], &fetched["iceServers"]);
        assert_eq!(own[1]["urls"], fetched[1]["urls"]);
        let (username, expiry) = credential(&fresh["data"]);
        let latest = known.last().expect("a credential");
        assert!(expiry > latest.1, "{expiry} after {latest:?}");
        assert!(known.insert((username, expiry)));
    }
}

#[test]
fn a_resumed_session_continues_to_get_ice_servers() {
    let world = World::with(&[("PARLOR_TURN__CREDENTIAL_TTL", "4s")]);
    let (alice, welcome) = world.enter_extended(LOBBY, "alice");
    alice.vanish();
    let resume = welcome["resume"]["token"].as_str().expect("a token");
    let path = format!("{PATH}?session={resume}&seq=0");
    let mut alice = world.connect_extended(&path, "alice");
    assert_eq!(alice.read()["type"], "resumed");
    let fresh = alice.read();
    assert_eq!(fresh["type"], "ice-servers", "{fresh}");
}
