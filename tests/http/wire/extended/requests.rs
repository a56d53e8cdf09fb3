//! Requests of extended clients that concern the store, and their answers.

use serde_json::{Value, json};

use super::frame;
use crate::wire::world::{Client, LOBBY, World};

/// The next frame that is none of the chat: those come before or after the answers.
fn read_answer(client: &mut Client) -> Value {
    loop {
        let frame = client.read();
        if frame["type"] != "chat" {
            return frame;
        }
    }
}

#[test]
fn a_chat_frame_is_acknowledged_when_the_message_is_stored() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let mut chat = frame("chat", None, &json!({"content": "Hello"}));
    chat["id"] = "c1".into();
    for _ in 0..2 {
        alice.send(&chat);
        let ack = read_answer(&mut alice);
        assert_eq!((&ack["type"], &ack["ref"]), (&json!("ack"), &json!("c1")));
    }
    let http = world.http(&world.token("alice"));
    let messages = http.get("/api/rooms/lobby/messages").json();
    let messages = messages["messages"].as_array().expect("a list").clone();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["user_id"], "alice");
    assert_eq!(messages[0]["content"], "Hello");
}

#[test]
fn frames_behind_a_request_are_handled_after_it_and_in_order() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["type"], "user-joined");
    let mut expected = Vec::new();
    for number in 0..10 {
        let mut chat = frame("chat", None, &json!({"content": number.to_string()}));
        chat["id"] = format!("chat-{number}").into();
        alice.send(&chat);
        let mut message = frame("message", None, &json!(number));
        message["id"] = format!("message-{number}").into();
        alice.send(&message);
        expected.extend([chat["id"].clone(), message["id"].clone()]);
    }
    for id in &expected {
        assert_eq!(&read_answer(&mut alice)["ref"], id);
    }
    for number in 0..10 {
        assert_eq!(read_answer(&mut bob)["data"], number);
    }
    let http = world.http(&world.token("bob"));
    let messages = http.get("/api/rooms/lobby/messages").json();
    let contents = messages["messages"].as_array().expect("a list").iter();
    let contents: Vec<_> = contents.map(|one| one["content"].clone()).collect();
    assert_eq!(
        contents,
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n: u8| json!(n.to_string()))
    );
}

#[test]
fn a_request_is_rejected_as_over_http() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let http = world.http(&world.token("alice"));
    let chat = |content: &str| {
        let mut chat = frame("chat", None, &json!({"content": content}));
        chat["id"] = "c".into();
        chat
    };
    alice.send(&chat(" \n"));
    let error = alice.read();
    let answer = http.post_json("/api/rooms/lobby/messages", &json!({"content": " \n"}));
    let answer = answer.json();
    assert_eq!(
        error["data"],
        json!({"code": answer["code"], "message": answer["detail"]})
    );
    assert_eq!(error["ref"], "c");
    // Rejected requests are no invalid frames: any number of them closes nothing.
    let mut code = json!(null);
    for _ in 0..120 {
        alice.send(&chat("\t"));
        let error = alice.read();
        assert_eq!(error["type"], "error", "{error}");
        code = error["data"]["code"].clone();
    }
    assert_eq!(code, "too-many-requests");
}
