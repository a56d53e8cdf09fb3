//! The handling of messages: the rows of the plain protocol's table.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::wire::world::{LOBBY, World, offer, presence};

#[test]
fn a_directed_message_reaches_its_target_alone() {
    let world = World::start();
    let [mut alice, mut bob, mut carol] = world.lobby(["alice", "bob", "carol"]);
    alice.send(&offer("alice", Some("bob"), "for bob"));
    alice.send(&offer("alice", Some("carol"), "for carol"));
    assert_eq!(bob.read(), offer("alice", Some("bob"), "for bob"));
    assert_eq!(carol.read(), offer("alice", Some("carol"), "for carol"));
}

#[test]
fn a_message_without_a_target_reaches_everybody_else() {
    let world = World::start();
    let [mut alice, mut bob, mut carol] = world.lobby(["alice", "bob", "carol"]);
    for kind in ["offer", "answer", "ice-candidate"] {
        for to in ["", r#","to":null"#, r#","to":"""#] {
            let text = format!(r#"{{"type":"{kind}","from":"alice","roomId":"lobby"{to}}}"#);
            alice.send_text(&text);
            assert_eq!(bob.read_text(), text);
            assert_eq!(carol.read_text(), text);
        }
    }
    // The sender got none of them: the next thing it reads is bob's.
    bob.send(&offer("bob", Some("alice"), "first"));
    assert_eq!(alice.read(), offer("bob", Some("alice"), "first"));
}

#[test]
fn a_message_never_leaves_the_senders_room() {
    let world = World::start();
    world.room("attic");
    let mut in_lobby = world.enter(LOBBY, "alice");
    let mut bob_in_lobby = world.enter(LOBBY, "bob");
    let mut in_attic = world.enter("attic", "alice");
    let mut carol_in_attic = world.enter("attic", "carol");
    assert_eq!(in_lobby.read(), presence("user-joined", "bob", LOBBY));
    assert_eq!(in_attic.read(), presence("user-joined", "carol", "attic"));
    // Claims the attic, names somebody who is there only, and speaks to all.
    let mut crossing = offer("alice", Some("carol"), "crossing");
    crossing["roomId"] = "attic".into();
    in_lobby.send(&crossing);
    crossing.as_object_mut().unwrap().remove("to");
    in_lobby.send(&crossing);
    crossing["roomId"] = LOBBY.into();
    assert_eq!(bob_in_lobby.read(), crossing);
    // Carol and Alice's other connection saw nothing of it.
    in_attic.send(&json!({"type": "answer", "from": "x", "roomId": "x"}));
    let heard = json!({"type": "answer", "from": "alice", "roomId": "attic"});
    assert_eq!(carol_in_attic.read(), heard);
    carol_in_attic.send(&heard);
    let answer = json!({"type": "answer", "from": "carol", "roomId": "attic"});
    assert_eq!(in_attic.read(), answer);
}

#[test]
fn nobody_can_speak_for_somebody_else() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    for claim in [
        r#""from":"bob","roomId":"attic""#,
        r#""from":{"a":["bob"]},"roomId":0"#,
        r#""from":"alice","roomId":"lobby","fr\u006fm":"bob","room\u0049d":"attic""#,
        r#""from":"alice","from":"bob","roomId":"attic","roomId":"lobby""#,
    ] {
        alice.send_text(&format!(r#"{{"type":"offer",{claim}}}"#));
        let heard = bob.read();
        assert_eq!(heard["from"], "alice", "{claim}");
        assert_eq!(heard["roomId"], LOBBY, "{claim}");
    }
}

#[test]
fn other_content_is_unchanged_to_the_byte() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    let text = concat!(
        "{ \"n\" : 12345678901234567890123456789.50E+3,\t\"type\":\"ice-candidate\",\"from\":\"alice\",",
        "\"z\":\"\\u00e9\\/\\ud800 \u{e9}\u{1F600}\",\"data\":{\"b\":1,\"a\":[{},[ ]],\"b\":2},\r\n",
        "\"roomId\":\"lobby\",\"to\":\"b\\u006fb\",\"-0\":-0.0 } "
    );
    alice.send_text(text);
    assert_eq!(bob.read_text(), text);
}

#[test]
fn messages_of_one_sender_arrive_in_order() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    for number in 0..900 {
        let to = (number % 3 == 0).then_some("bob");
        alice.send(&offer("alice", to, &number.to_string()));
    }
    for number in 0..900 {
        assert_eq!(bob.read()["data"]["sdp"], number.to_string());
    }
}

#[test]
fn an_announcement_names_its_sender_despite_its_claims() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    alice.send(
        &json!({"type": "user-joined", "from": "alice", "roomId": LOBBY,
        "data": {"userId": "bob", "displayName": "Alice A."}}),
    );
    let mut expected = presence("user-joined", "alice", LOBBY);
    expected["data"]["displayName"] = "Alice A.".into();
    assert_eq!(bob.read(), expected);
    alice.send(&json!({"type": "user-joined", "from": "alice", "roomId": LOBBY}));
    assert_eq!(bob.read(), presence("user-joined", "alice", LOBBY));
}

#[test]
fn invalid_messages_are_dropped_without_an_answer() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    for (bad, reason) in [
        (
            r#"{"type":"dance","from":"alice","roomId":"lobby"}"#,
            "unknown_type",
        ),
        (
            r#"{"type":"user-left","from":"alice","roomId":"lobby"}"#,
            "unknown_type",
        ),
        (
            r#"{"type":7,"from":"alice","roomId":"lobby"}"#,
            "unknown_type",
        ),
        (r#"{"from":"alice","roomId":"lobby"}"#, "missing_field"),
        (r#"{"type":"offer","roomId":"lobby"}"#, "missing_field"),
        (r#"{"type":"offer","from":"alice"}"#, "missing_field"),
        (
            r#"{"type":"offer","from":"alice","roomId":"lobby""#,
            "not_json",
        ),
        ("hello", "not_json"),
        ("", "not_json"),
        (r#"["offer"]"#, "not_an_object"),
        (
            r#"{"type":"offer","from":"alice","roomId":"lobby","to":7}"#,
            "bad_target",
        ),
        (
            r#"{"type":"offer","from":"alice","roomId":"lobby","to":["bob"]}"#,
            "bad_target",
        ),
        (
            r#"{"type":"offer","from":"alice","roomId":"lobby","to":"zoe"}"#,
            "no_such_target",
        ),
    ] {
        let name = format!("parlor_signaling_dropped_total{{reason=\"{reason}\"}}");
        let before = world.metric(&name);
        alice.send_text(bad);
        alice.send(&offer("alice", None, bad));
        assert_eq!(bob.read(), offer("alice", None, bad));
        assert_eq!(world.metric(&name), before + 1, "{bad}");
    }
    let binary = offer("alice", None, "binary").to_string();
    alice.socket.send(Message::binary(binary)).unwrap();
    alice.send(&offer("alice", None, "text"));
    assert_eq!(bob.read(), offer("alice", None, "text"));
    // The sender received nothing either.
    bob.send(&offer("bob", None, "last"));
    assert_eq!(alice.read(), offer("bob", None, "last"));
}

#[test]
fn a_newcomer_is_announced_once_and_receives_nothing() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    alice.send(&offer("alice", Some("bob"), "I was here first"));
    assert_eq!(bob.read(), offer("alice", Some("bob"), "I was here first"));
    bob.send(&offer("bob", Some("alice"), "thanks"));
    assert_eq!(alice.read(), offer("bob", Some("alice"), "thanks"));
}

#[test]
fn a_ping_is_answered() {
    let world = World::start();
    let mut alice = world.enter(LOBBY, "alice");
    alice.socket.send(Message::Ping("anyone?".into())).unwrap();
    assert_eq!(alice.next(), Message::Pong("anyone?".into()));
}
