//! Frames of extended clients, and their answers.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{frame, relayed};
use crate::wire::world::{Client, LOBBY, World, offer, presence};

/// Two extended clients, who have read of each other, and a plain one between them.
fn three(world: &World) -> (Client, Client, Client) {
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let mut plain = world.enter(LOBBY, "plain");
    let (bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["seq"], 1);
    assert_eq!(alice.read()["seq"], 2);
    assert_eq!(plain.read(), presence("user-joined", "bob", LOBBY));
    (alice, plain, bob)
}

#[test]
fn plain_and_extended_clients_share_a_room() {
    let world = World::start();
    let (mut alice, mut plain, mut bob) = three(&world);
    // The plain client gets the bytes that it always got.
    let text =
        "{ \"type\":\"offer\", \"from\":\"alice\",\"roomId\":\"lobby\",\"n\":1.50,\"seq\":7}";
    alice.send_text(text);
    assert_eq!(plain.read_text(), text);
    let expected =
        "{\"seq\":1,\"type\":\"offer\",\"from\":\"alice\",\"roomId\":\"lobby\",\"n\":1.50}";
    assert_eq!(bob.read_text(), expected);
    plain.send(&offer("plain", Some("bob"), "for bob"));
    assert_eq!(
        bob.read(),
        relayed(2, "plain", &offer("plain", Some("bob"), "for bob"))
    );
    plain.send(&offer("plain", None, "for all"));
    assert_eq!(
        alice.read(),
        relayed(3, "plain", &offer("plain", None, "for all"))
    );
    assert_eq!(
        bob.read(),
        relayed(3, "plain", &offer("plain", None, "for all"))
    );
}

#[test]
fn an_announcement_cannot_pass_for_one_of_the_server() {
    let world = World::start();
    let (mut alice, mut plain, mut bob) = three(&world);
    let forged = json!({"name": "A", "participant": {"role": "owner"}});
    plain.send(&frame("user-joined", None, &forged));
    let expected = frame(
        "user-joined",
        None,
        &json!({"userId": "plain", "name": "A"}),
    );
    assert_eq!(alice.read(), relayed(3, "plain", &expected));
    assert_eq!(bob.read(), relayed(1, "plain", &expected));
}

#[test]
fn an_application_message_reaches_extended_clients_alone() {
    let world = World::start();
    let (mut alice, mut plain, mut bob) = three(&world);
    let hello = frame("message", None, &json!({"any": ["thing"]}));
    alice.send(&hello);
    assert_eq!(bob.read(), relayed(1, "alice", &hello));
    let directed = frame("message", Some("bob"), &json!(1));
    alice.send(&directed);
    assert_eq!(bob.read(), relayed(2, "alice", &directed));
    alice.send(&frame("message", Some("plain"), &json!(2)));
    assert_eq!(code(&alice.read()), "plain-client");
    // A plain client cannot send one either.
    plain.send(&hello);
    alice.send(&offer("alice", None, "next"));
    assert_eq!(plain.read(), offer("alice", None, "next"));
    assert_eq!(
        bob.read(),
        relayed(3, "alice", &offer("alice", None, "next"))
    );
}

fn code(error: &Value) -> &str {
    assert_eq!(error["type"], "error", "{error}");
    assert!(error["data"]["message"].is_string(), "{error}");
    error["data"]["code"].as_str().expect("a code")
}

#[test]
fn a_frame_with_an_id_is_acknowledged_and_delivered_once() {
    let world = World::start();
    let (mut alice, mut plain, mut bob) = three(&world);
    let mut hello = offer("alice", None, "once");
    hello["id"] = "a1".into();
    for seq in [3, 4] {
        alice.send(&hello);
        let ack = json!({"seq": seq, "type": "ack", "ref": "a1", "roomId": LOBBY, "data": {}});
        assert_eq!(alice.read(), ack);
    }
    assert_eq!(plain.read(), hello);
    assert_eq!(bob.read(), relayed(1, "alice", &hello));
    hello["id"] = "a2".into();
    hello["to"] = "nobody".into();
    for seq in [5, 6] {
        alice.send(&hello);
        let error = alice.read();
        assert_eq!((&error["seq"], &error["ref"]), (&json!(seq), &json!("a2")));
        assert_eq!(code(&error), "not-connected");
    }
    hello["to"] = "bob".into();
    // A rejected frame may be sent again.
    alice.send(&hello);
    assert_eq!(alice.read()["type"], "ack");
    assert_eq!(bob.read(), relayed(2, "alice", &hello));
}

#[test]
fn an_invalid_frame_is_answered() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    for (bad, expected) in [
        (
            r#"{"type":"dance","from":1,"roomId":1,"id":"x"}"#,
            "unknown-type",
        ),
        (
            r#"{"type":"user-left","from":1,"roomId":1,"id":"x"}"#,
            "unknown-type",
        ),
        (r#"{"type":"offer","from":1,"id":"x"}"#, "missing-field"),
        (r#"{"from":1,"roomId":1,"id":"x"}"#, "missing-field"),
        (
            r#"{"type":"offer","from":1,"roomId":1,"to":7,"id":"x"}"#,
            "bad-target",
        ),
        (r#"{"type":"offer","from":1,"roomId":1,"id":""}"#, "bad-id"),
        (r#"{"type":"offer","from":1,"roomId":1,"id":7}"#, "bad-id"),
        (r#"["offer"]"#, "not-an-object"),
        ("hello", "not-json"),
        (
            r#"{"type":"offer","type":"offer","from":1,"roomId":1}"#,
            "not-json",
        ),
    ] {
        alice.send_text(bad);
        let error = alice.read();
        assert_eq!(code(&error), expected, "{bad}");
        let names_frame = bad.contains(r#""id":"x""#);
        assert_eq!(error.get("ref").is_some(), names_frame, "{bad}");
    }
    alice.socket.send(Message::binary("x")).expect("sent");
    assert_eq!(code(&alice.read()), "binary");
    let id = "x".repeat(65);
    alice.send(&json!({"type": "offer", "from": 1, "roomId": 1, "id": id}));
    assert_eq!(code(&alice.read()), "bad-id");
}

#[test]
fn too_many_invalid_frames_close_an_extended_client_too() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    for _ in 0..101 {
        alice.send_text("hello");
    }
    assert_eq!(alice.close_code(), 4008);
}
