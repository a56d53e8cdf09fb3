//! The relay of a room that several nodes share.

use std::net::SocketAddr;
use std::time::Duration;

use parlor::clock;
use parlor::stun::Attribute;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::cluster::readiness;
use crate::restart::in_place::ready;
use crate::support::cluster::{Cluster, SHORT_LEASE, cluster_token, join};
use crate::support::extended::Extended;
use crate::support::http::Client;
use crate::support::media::{Call, SSRC};
use crate::support::redis::Server as Redis;
use crate::support::socket::{self, Socket};
use crate::support::{DEADLINE, Daemon, turn, wait_until};

const LOBBY: &str = "lobby";
/// Does not end on a slow machine; a fifth of it passes until nodes know each other.
const LEASE: &str = "10s";

/// The nodes, the relay of the room `lobby` first.
fn nodes_of(cluster: &Cluster) -> [Daemon; 3] {
    let mut nodes = ["one", "two", "three"].map(|name| cluster.start(name));
    let deadline = clock::now().mono + DEADLINE;
    for node in &nodes {
        while node.cli_json(&["nodes"]).as_array().expect("a list").len() < nodes.len() {
            assert!(clock::now().mono < deadline, "the nodes know each other");
        }
    }
    join(&nodes[0], LOBBY, "alice");
    let relay = relay_of(&nodes[0], Some(LOBBY));
    let index = nodes.iter().position(|node| node.turn() == relay);
    nodes.swap(0, index.expect("a node relays the room"));
    nodes
}

fn ice_servers(node: &Daemon, room: Option<&str>) -> Value {
    ice_servers_of("alice", node, room)
}

fn ice_servers_of(user: &str, node: &Daemon, room: Option<&str>) -> Value {
    let query = room.map_or(String::new(), |room| format!("?room={room}"));
    let caller = Client::new(node.http()).with_token(&cluster_token(user));
    caller.get(&format!("/api/ice-servers{query}")).ok()
}

/// The relay that a node names to alice.
fn relay_of(node: &Daemon, room: Option<&str>) -> SocketAddr {
    let answer = ice_servers(node, room);
    let url = answer["iceServers"][1]["urls"][0].as_str().expect("a URL");
    let address = url.strip_prefix("turn:").expect("a TURN URL");
    let address = address.split('?').next().expect("an address");
    address.parse().expect("an address")
}

/// A TURN client at a node, with alice's credential for a room.
fn turn_client(node: &Daemon, names: &Daemon, room: Option<&str>) -> turn::Client {
    turn_client_of("alice", node, names, room)
}

fn turn_client_of(user: &str, node: &Daemon, names: &Daemon, room: Option<&str>) -> turn::Client {
    let server = ice_servers_of(user, names, room)["iceServers"][1].clone();
    let text = |key: &str| server[key].as_str().expect("a text").to_owned();
    let mut client = turn::Client::udp(node.turn(), user, None);
    client.minted.username = text("username");
    client.minted.credential = text("credential");
    client
}

/// The id of a new room.
fn room_named(caller: &Client, name: &str) -> String {
    let room = caller
        .post_json("/api/rooms", &json!({ "name": name }))
        .ok();
    room["id"].as_str().expect("an id").to_owned()
}

/// All rooms, each with the number of connected users, the lowest number first.
fn connected_counts(caller: &Client) -> Vec<(Value, Value)> {
    let answer = caller.get("/api/rooms").ok();
    let rooms = answer["rooms"].as_array().expect("a list").iter();
    let counts = rooms.map(|room| (room["id"].clone(), room["connected"].clone()));
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|(_, count)| count.as_u64());
    counts
}

fn connect(node: &Daemon, user: &str, query: &str) -> Socket {
    join(node, LOBBY, user);
    let opened = socket::open(node.http(), LOBBY, &cluster_token(user), query);
    opened.expect("an upgrade")
}

fn read(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = socket.read().expect("a message") {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

#[test]
fn all_nodes_name_one_relay_for_a_room_and_their_own_without_a_room() {
    let cluster = Cluster::new(LEASE);
    let nodes = nodes_of(&cluster);
    let caller = Client::new(nodes[0].http()).with_token(&cluster_token("alice"));
    let mut relays = Vec::new();
    for number in 0..12 {
        let room = room_named(&caller, &format!("room {number}"));
        let joined = caller.post(&format!("/api/rooms/{room}/join")).ok();
        let named: Vec<_> = nodes
            .iter()
            .map(|node| relay_of(node, Some(&room)))
            .collect();
        assert_eq!(named, [named[0]; 3], "{room}");
        let url = format!("turn:{}?transport=udp", named[0]);
        assert_eq!(joined["ice_servers"][1]["urls"][0], url);
        relays.push(named[0]);
    }
    relays.sort_unstable();
    relays.dedup();
    assert!(relays.len() > 1, "all rooms have the relay {relays:?}");
    for node in &nodes {
        assert_eq!(relay_of(node, None), node.turn());
    }
    let names = nodes
        .each_ref()
        .map(|node| ice_servers(node, Some(LOBBY))["relay"].clone());
    assert!(
        names[0].is_string() && names[1] == names[0] && names[2] == names[0],
        "{names:?}"
    );
}

#[test]
fn an_allocation_at_another_node_is_redirected_to_the_relay_of_the_room() {
    let cluster = Cluster::new(LEASE);
    let [relay, other, _third] = nodes_of(&cluster);
    let answer = turn_client(&other, &other, Some(LOBBY)).allocate();
    assert_eq!(answer.code(), Some(300));
    let value = answer
        .message()
        .get(Attribute::ALTERNATE_SERVER)
        .map(<[u8]>::to_vec);
    let port = relay.turn().port().to_be_bytes();
    assert_eq!(value.unwrap(), [0, 1, port[0], port[1], 127, 0, 0, 1]);
    turn_client(&relay, &other, Some(LOBBY)).allocated();
}

#[test]
fn a_draining_relay_node_allocates_for_its_rooms_and_gets_no_new_ones() {
    let cluster = Cluster::new(SHORT_LEASE);
    let [relay, other, _third] = nodes_of(&cluster);
    // Keeps the drain from ending.
    let mut first = turn_client(&relay, &other, Some(LOBBY));
    first.allocated();
    relay.cli_json(&["drain", "--timeout", "1000h", "--detach"]);
    relay.wait_for_log("\"draining\"");
    assert_eq!(relay_of(&other, Some(LOBBY)), relay.turn());
    // Stays, or the next client could have its port, and with that its allocation.
    let mut second = turn_client(&relay, &other, Some(LOBBY));
    second.allocated();
    let mut unbound = turn_client(&relay, &other, None);
    assert_eq!(unbound.allocate().code(), Some(508));
    // The other nodes learn of the drain with the next renewal of its lease.
    let caller = Client::new(other.http()).with_token(&cluster_token("alice"));
    let is_avoided = |number: usize| {
        let rooms = (0..8).map(|index| format!("room-{number}-{index}"));
        rooms.into_iter().all(|room| {
            let room = room_named(&caller, &room);
            caller.post(&format!("/api/rooms/{room}/join")).ok();
            relay_of(&other, Some(&room)) != relay.turn()
        })
    };
    assert!((0..3).any(is_avoided));
}

#[test]
fn members_learn_that_their_relay_node_has_ended_if_their_clients_expect_notices() {
    let cluster = Cluster::new(SHORT_LEASE);
    let [relay, other, third] = nodes_of(&cluster);
    let mut alice = connect(&other, "alice", "&notices=1");
    let mut plain = connect(&other, "plain", "");
    assert_eq!(read(&mut alice)["type"], "user-joined");
    let mut carol = connect(&third, "carol", "&notices=1");
    for socket in [&mut alice, &mut plain] {
        assert_eq!(read(socket)["from"], "carol");
    }
    relay.signal("KILL");
    let notice = json!({"type": "ice-servers", "roomId": LOBBY});
    for socket in [&mut alice, &mut carol] {
        assert_eq!(read(socket), notice);
    }
    let moved = relay_of(&other, Some(LOBBY));
    assert!(moved == other.turn() || moved == third.turn(), "{moved}");
    assert_eq!(relay_of(&third, Some(LOBBY)), moved);
    // The plain client has received nothing but what follows.
    let offer =
        json!({"type": "offer", "from": "carol", "to": "plain", "roomId": LOBBY, "data": 1});
    carol.send(Message::text(offer.to_string())).expect("sent");
    assert_eq!(read(&mut plain), offer);
}

#[test]
fn a_restarted_relay_node_keeps_its_rooms_and_nobody_is_notified() {
    let cluster = Cluster::new(SHORT_LEASE);
    let [relay, other, third] = nodes_of(&cluster);
    let mut alice = connect(&other, "alice", "&notices=1");
    let mut carol = connect(&third, "carol", "&notices=1");
    assert_eq!(read(&mut alice)["from"], "carol");
    let (_, call) = (
        turn_client(&relay, &other, Some(LOBBY)).allocated(),
        ice_servers(&other, Some(LOBBY))["relay"].clone(),
    );
    let since = |node: &Daemon| {
        let nodes = node.cli_json(&["nodes"]);
        let rows = nodes.as_array().expect("a list").iter();
        let mut since: Vec<_> = rows.map(|row| row["since"].to_string()).collect();
        since.sort_unstable();
        since
    };
    let before = since(&other);
    relay.signal("USR2");
    ready(&relay, 2);
    let deadline = clock::now().mono + DEADLINE;
    // Until the other nodes know the new process.
    for node in [&other, &third] {
        while since(node).len() != 3 || since(node) == before {
            assert_eq!(relay_of(node, Some(LOBBY)), relay.turn());
            assert!(clock::now().mono < deadline, "{:?}", since(node));
        }
        let answer = ice_servers(node, Some(LOBBY));
        assert_eq!(answer["relay"], call);
        assert_eq!(relay_of(node, Some(LOBBY)), relay.turn());
    }
    let offer =
        json!({"type": "offer", "from": "carol", "to": "alice", "roomId": LOBBY, "data": 1});
    carol.send(Message::text(offer.to_string())).expect("sent");
    assert_eq!(read(&mut alice), offer);
}

#[test]
fn without_redis_a_room_keeps_the_relay_that_its_node_remembers() {
    let redis = Redis::start();
    let cluster = Cluster::on(&redis, LEASE);
    let [relay, other, third] = nodes_of(&cluster);
    assert_eq!(relay_of(&other, Some(LOBBY)), relay.turn());
    redis.kill();
    assert_eq!(relay_of(&other, Some(LOBBY)), relay.turn());
    assert_eq!(relay_of(&third, Some(LOBBY)), third.turn());
    // Its node is slow to return.
    relay.signal("STOP");
    redis.restart();
    for node in [&other, &third] {
        assert_eq!(readiness(node, "ok"), 200);
    }
    // The room is where it was, although Redis has forgotten both.
    assert_eq!(relay_of(&other, Some(LOBBY)), relay.turn());
    assert_eq!(relay_of(&third, Some(LOBBY)), relay.turn());
}

#[test]
fn the_participants_of_a_room_are_connected_on_any_node() {
    let cluster = Cluster::new(SHORT_LEASE);
    let [one, two, three] = nodes_of(&cluster);
    let alice = Client::new(one.http()).with_token(&cluster_token("alice"));
    let empty = room_named(&alice, "empty");
    let expected = [(json!(empty), json!(0)), (json!(LOBBY), json!(2))];
    let _alice = connect(&one, "alice", "");
    let _bob = connect(&two, "bob", "");
    join(&two, LOBBY, "carol");
    for node in [&one, &two, &three] {
        let caller = Client::new(node.http()).with_token(&cluster_token("alice"));
        wait_until("both are counted", || connected_counts(&caller) == expected);
        let path = format!("/api/rooms/{LOBBY}/participants");
        let deadline = clock::now().mono + DEADLINE;
        let answer = loop {
            let answer = caller.get(&path).ok();
            // A node without connections to the room knows two leases after the start of the cluster.
            if answer["presence"] == "known" {
                break answer;
            }
            assert!(clock::now().mono < deadline, "{answer}");
        };
        let rows = answer["participants"].as_array().expect("a list").iter();
        let connected = rows.filter(|row| row["connected"] == true);
        let mut connected: Vec<_> = connected.map(|row| row["user_id"].clone()).collect();
        connected.sort_by_key(Value::to_string);
        assert_eq!(connected, ["alice", "bob"]);
    }
}

/// Reads on to a `quality` frame with a bad link of alice in this direction. Other frames are acknowledgements.
fn reads_bad_link(alice: &mut Extended, direction: &str) -> bool {
    loop {
        let frame = alice.read();
        if frame["type"] == "ack" {
            return false;
        }
        let links = frame["data"]["links"].as_array().expect("links").iter();
        let mut links = links.filter(|link| link["userId"] == "alice");
        if links.any(|link| link["direction"] == direction && link["level"] == "bad") {
            return true;
        }
    }
}

#[test]
fn a_client_on_another_node_than_the_relay_reports_losses_and_learns_of_the_call() {
    let cluster = Cluster::new(LEASE);
    let [relay, other, _third] = nodes_of(&cluster);
    for user in ["alice", "bob"] {
        join(&other, LOBBY, user);
    }
    let mut alice = Extended::begin(other.http(), LOBBY, &cluster_token("alice"));
    let relayed = |user| turn_client_of(user, &relay, &other, Some(LOBBY));
    let call = Call::start(relayed("alice"), relayed("bob"));
    call.lose_one_of(10);
    assert!(reads_bad_link(&mut alice, "up"));
    call.lose_one_of(0);
    let is_reported = (0..60).any(|number| {
        call.continue_for(Duration::from_millis(1100));
        let lost = call.sent() / 4;
        let stream = json!({"ssrc": SSRC + 1, "packets": 1, "lost": lost, "jitterMs": 3.5});
        let data = json!({"received": [stream]});
        let id = number.to_string();
        alice.send_frame(
            &json!({"type": "stats", "from": "", "roomId": "", "id": id, "data": data}),
        );
        reads_bad_link(&mut alice, "down")
    });
    assert!(is_reported, "no frame about the losses");
    call.silence_first();
    while alice.read()["type"] != "path-lost" {}
}
