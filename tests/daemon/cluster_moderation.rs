//! Moderation over HTTP on one of several nodes holds on all of them.

use parlor::clock;
use parlor::stun::Method;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, LONG_LEASE, cluster_token, join};
use crate::support::extended::Extended;
use crate::support::http::{Answer, Client};
use crate::support::socket::{self, Socket};
use crate::support::turn::{Client as TurnClient, SECRET};
use crate::support::{DEADLINE, Daemon};

/// Two nodes, and a room of alice on both.
struct Nodes {
    one: Daemon,
    two: Daemon,
    room: String,
}

impl Nodes {
    fn start() -> Nodes {
        let cluster = Cluster::new(LONG_LEASE);
        let start = |name| {
            let node = cluster.node(name).env("PARLOR_TURN__SECRET", SECRET);
            node.start()
        };
        let two = start("two");
        let mut one = start("one");
        one.use_database(cluster.into_database());
        let room = caller(&one, "alice")
            .post_json("/api/rooms", &json!({"name": "Den"}))
            .ok();
        let room = room["id"].as_str().expect("an id").to_owned();
        Nodes { one, two, room }
    }

    fn post(&self, node: &Daemon, user: &str, rest: &str, body: &Value) -> Answer {
        let path = format!("/api/rooms/{}{rest}", self.room);
        caller(node, user).post_json(&path, body)
    }

    fn set_role(&self, node: &Daemon, actor: &str, user: &str, role: &str) -> Answer {
        let path = format!("/participants/{user}/role");
        self.post(node, actor, &path, &json!({"role": role}))
    }

    fn join(&self, node: &Daemon, user: &str) -> Answer {
        self.post(node, user, "/join", &json!({}))
    }

    fn connect(&self, node: &Daemon, user: &str) -> Socket {
        join(node, &self.room, user);
        let opened = socket::open(node.http(), &self.room, &cluster_token(user), "");
        let mut socket = opened.expect("an upgrade");
        assert!(socket::has_entered(&mut socket), "{user} is refused");
        socket
    }
}

fn caller(node: &Daemon, user: &str) -> Client {
    Client::new(node.http()).with_token(&cluster_token(user))
}

/// Waits until an allocation has ended. The server answers 401 while it ends.
fn loses_relay(relay: &mut TurnClient) {
    let deadline = clock::now().mono + DEADLINE;
    while relay.request(Method::REFRESH, &[]).code() != Some(437) {
        assert!(clock::now().mono < deadline, "the relay is still there");
    }
}

#[test]
fn a_moderator_on_one_node_removes_members_who_are_connected_to_another() {
    let nodes = Nodes::start();
    join(&nodes.one, &nodes.room, "bob");
    nodes.set_role(&nodes.one, "alice", "bob", "moderator").ok();
    for (user, path) in [("carol", "/participants/carol/kick"), ("dora", "/bans")] {
        let mut socket = nodes.connect(&nodes.one, user);
        // Without a room, because either node may relay the room.
        let mut relay = TurnClient::udp(nodes.one.turn(), user, None);
        relay.allocated();
        let body = match path {
            "/bans" => json!({"user_id": user}),
            _ => json!({}),
        };
        nodes.post(&nodes.two, "bob", path, &body).ok();
        assert_eq!(socket::close_code(&mut socket), 4005, "{user}");
        loses_relay(&mut relay);
        assert_eq!(nodes.join(&nodes.one, user).status, 403, "{user}");
    }
    let audit = caller(&nodes.one, "alice");
    let audit = audit.get(&format!("/api/rooms/{}/audit", nodes.room)).ok();
    let actions: Vec<&Value> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["action"])
        .collect();
    assert_eq!(actions, ["ban", "kick", "role"]);
}

#[test]
fn a_lock_a_capacity_and_a_role_of_one_node_hold_on_the_other() {
    let nodes = Nodes::start();
    let Nodes { one, two, .. } = &nodes;
    nodes.post(one, "alice", "/lock", &json!({})).ok();
    assert_eq!(nodes.join(two, "bob").status, 423);
    nodes.join(two, "alice").ok();
    nodes.post(two, "alice", "/unlock", &json!({})).ok();
    let path = format!("/api/rooms/{}", nodes.room);
    let kind = [("Content-Type", "application/json")];
    let change = br#"{"max_participants": 1}"#;
    caller(one, "alice")
        .send("PATCH", &path, &kind, change)
        .ok();
    assert_eq!(nodes.join(two, "bob").status, 409);
    let change = br#"{"max_participants": 2}"#;
    caller(two, "alice")
        .send("PATCH", &path, &kind, change)
        .ok();
    nodes.join(one, "bob").ok();
    nodes.set_role(two, "alice", "bob", "owner").ok();
    assert_eq!(nodes.set_role(one, "alice", "bob", "member").status, 403);
    nodes.set_role(one, "bob", "alice", "member").ok();
    assert_eq!(nodes.post(two, "alice", "/lock", &json!({})).status, 403);
}

/// Reads until a frame of this type.
fn frame_of(client: &mut Extended, kind: &str) -> Value {
    loop {
        let frame = client.read();
        if frame["type"] == kind {
            return frame;
        }
    }
}

fn data_of(client: &mut Extended, kind: &str) -> Value {
    frame_of(client, kind)["data"].take()
}

#[test]
fn frames_of_a_moderator_on_one_node_reach_clients_of_another() {
    let nodes = Nodes::start();
    let Nodes { one, two, room } = &nodes;
    let enter = |node: &Daemon, user: &str| {
        join(node, room, user);
        Extended::begin(node.http(), room, &cluster_token(user))
    };
    let send = |client: &mut Extended, kind: &str, to: Option<&str>, data: Value| {
        let mut frame = json!({"type": kind, "id": kind, "from": "", "roomId": "", "data": data});
        if let Some(to) = to {
            frame["to"] = to.into();
        }
        client.send_frame(&frame);
    };
    let mut alice = enter(one, "alice");
    let mut bob = enter(two, "bob");
    let mut carol = nodes.connect(two, "carol");
    for (client, user) in [(&mut alice, "bob"), (&mut bob, "carol")] {
        assert_eq!(data_of(client, "user-joined")["userId"], user);
    }
    send(&mut alice, "mute", Some("bob"), json!({}));
    assert_eq!(frame_of(&mut bob, "mute")["from"], "alice");
    for client in [&mut bob, &mut alice] {
        let updated = data_of(client, "participant-updated");
        assert_eq!(updated["userId"], "bob");
        assert_eq!(updated["state"]["mutedByModerator"], true);
    }
    // The node with the client answers which protocol it speaks, and whether it is there.
    let mute = |user: &str| {
        let path = format!("/participants/{user}/mute");
        nodes.post(one, "alice", &path, &json!({}))
    };
    assert_eq!(mute("carol").refusal(), (409, "plain-client".to_owned()));
    mute("bob").ok();
    assert_eq!(frame_of(&mut bob, "mute")["from"], "alice");
    join(two, room, "dora");
    assert_eq!(mute("dora").refusal(), (409, "not-connected".to_owned()));
    send(&mut alice, "lock", None, json!({"locked": true}));
    assert_eq!(data_of(&mut bob, "room-updated")["locked"], true);
    assert_eq!(nodes.join(two, "erin").status, 423);
    send(&mut alice, "ban", Some("carol"), json!({}));
    assert_eq!(socket::close_code(&mut carol), 4005);
    send(&mut alice, "kick", Some("bob"), json!({}));
    assert_eq!(socket::close_code(&mut bob.socket), 4005);
    for (user, reason) in [("carol", "banned"), ("bob", "kicked")] {
        let left = data_of(&mut alice, "user-left");
        assert_eq!(left, json!({"userId": user, "reason": reason}));
    }
}
