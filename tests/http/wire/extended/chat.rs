//! The chat as extended clients see it while they are connected.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Known, frame, resume};
use crate::wire::world::{Client, LOBBY, World};

/// A frame by which a client posts a message.
fn chat(content: &str) -> Value {
    frame("chat", None, &json!({"content": content}))
}

/// The `chat` frame that must come next, and its content.
fn read_chat(client: &mut Client) -> Value {
    let chat = client.read();
    assert_eq!(chat["type"], "chat", "{chat}");
    assert_eq!(chat["from"], chat["data"]["userId"], "{chat}");
    assert_eq!(chat["roomId"], LOBBY);
    chat["data"].clone()
}

fn post(world: &World, user: &str, content: &str) -> Value {
    let http = world.http(&world.token(user));
    let body = json!({"content": content});
    http.post_json("/api/rooms/lobby/messages", &body).ok()
}

#[test]
fn a_message_reaches_all_extended_clients_by_every_way_of_posting() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let mut plain = world.enter(LOBBY, "plain");
    assert_eq!(alice.read()["from"], "plain");
    post(&world, "plain", "before bob");
    assert_eq!(read_chat(&mut alice)["content"], "before bob");
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["from"], "bob");
    assert_eq!(plain.read()["from"], "bob");
    let posted = post(&world, "plain", "over HTTP");
    bob.send(&chat("by a frame"));
    for client in [&mut alice, &mut bob] {
        let expected = json!({
            "id": posted["id"],
            "userId": "plain",
            "displayName": "plain",
            "content": "over HTTP",
            "createdAt": posted["created_at"],
        });
        assert_eq!(read_chat(client), expected);
        let second = read_chat(client);
        assert_eq!(second["content"], "by a frame");
        assert_eq!(second["userId"], "bob");
    }
    // A plain client gets none of it.
    alice.send(&frame("offer", Some("plain"), &json!("next")));
    assert_eq!(plain.read()["data"], "next");
}

#[test]
fn messages_arrive_in_the_order_of_the_store_and_each_once() {
    let world = World::start();
    let mut clients: Vec<Client> = Vec::new();
    let users = ["alice", "bob", "carol"];
    for user in users {
        let (client, _) = world.enter_extended(LOBBY, user);
        for earlier in &mut clients {
            assert_eq!(earlier.read()["from"], user);
        }
        clients.push(client);
    }
    const EACH: usize = 15;
    for number in 0..EACH {
        for (client, user) in clients.iter_mut().zip(users) {
            client.send(&chat(&format!("{user} {number}")));
        }
    }
    let http = world.http(&world.token("alice"));
    let mut sequences = BTreeSet::new();
    for client in &mut clients {
        let ids = (0..EACH * users.len()).map(|_| read_chat(client)["id"].as_i64());
        sequences.insert(ids.flatten().collect::<Vec<i64>>());
    }
    let stored = http.get("/api/rooms/lobby/messages?limit=100").json();
    let stored = stored["messages"].as_array().expect("a list").iter();
    let stored: Vec<i64> = stored.filter_map(|one| one["id"].as_i64()).collect();
    assert_eq!(sequences, BTreeSet::from([stored]));
}

#[test]
fn a_deleted_message_is_reported_to_all() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["from"], "bob");
    let mut ids = Vec::new();
    for content in ["one", "two"] {
        let posted = post(&world, "alice", content);
        for client in [&mut alice, &mut bob] {
            assert_eq!(read_chat(client)["id"], posted["id"]);
        }
        ids.push(posted["id"].as_i64().expect("an id"));
    }
    // Only the author and moderators delete it.
    let mut delete = frame("chat-delete", None, &json!({"id": ids[0]}));
    bob.send(&delete);
    let error = bob.read();
    assert_eq!(error["data"]["code"], "forbidden", "{error}");
    alice.send(&delete);
    let deleted = |id: i64| json!({"id": id});
    for client in [&mut alice, &mut bob] {
        let frame = client.read();
        assert_eq!(frame["type"], "chat-deleted");
        assert_eq!(frame["data"], deleted(ids[0]));
    }
    let http = world.http(&world.token("alice"));
    let path = format!("/api/rooms/lobby/messages/{}", ids[1]);
    http.send("DELETE", &path, &[], b"").ok();
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.read()["data"], deleted(ids[1]));
    }
    alice.send(&delete);
    assert_eq!(alice.read()["data"]["code"], "not-found");
    delete["data"]["id"] = 999.into();
    alice.send(&delete);
    assert_eq!(alice.read()["data"]["code"], "not-found");
}

#[test]
fn a_client_that_was_away_does_not_get_the_text_of_a_deleted_message() {
    let world = World::start();
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    let (mut alice, welcome) = world.enter_extended(LOBBY, "alice");
    assert_eq!(bob.read()["from"], "alice");
    // One message is sent and not read, the other one waits in the queue.
    let first = post(&world, "bob", "a secret that was sent");
    assert_eq!(read_chat(&mut bob)["id"], first["id"]);
    assert_eq!(read_chat(&mut alice)["id"], first["id"]);
    alice.vanish();
    let second = post(&world, "bob", "a secret that waits");
    assert_eq!(read_chat(&mut bob)["id"], second["id"]);
    let kept = post(&world, "bob", "no secret");
    assert_eq!(read_chat(&mut bob)["id"], kept["id"]);
    let http = world.http(&world.token("bob"));
    for message in [&first, &second] {
        let path = format!("/api/rooms/lobby/messages/{}", message["id"]);
        http.send("DELETE", &path, &[], b"").ok();
        assert_eq!(bob.read()["data"]["id"], message["id"]);
    }
    let (mut alice, resumed) = resume(&world, "alice", &Known::of(&welcome, 0));
    let missed: Vec<Value> = (0..resumed["missed"].as_u64().expect("a number"))
        .map(|_| alice.read())
        .collect();
    for (frame, seq) in missed.iter().zip(1..) {
        assert_eq!(frame["seq"], seq, "{frame}");
        assert!(!frame.to_string().contains("a secret"), "{frame}");
    }
    let of = |kind: &str| -> Vec<&Value> {
        let of_kind = missed.iter().filter(|frame| frame["type"] == kind);
        of_kind.map(|frame| &frame["data"]["id"]).collect()
    };
    assert_eq!(of("chat"), [&kept["id"]]);
    let deleted = of("chat-deleted");
    assert!(deleted.contains(&&first["id"]) && deleted.contains(&&second["id"]));
}
