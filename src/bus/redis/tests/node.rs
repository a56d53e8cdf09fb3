//! A node without Redis.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::world::LEASE;
use crate::bus::redis::{Node, Output, Script, Scripts, Settings};
use crate::clock::Mono;
use crate::room::Request;

const START: Mono = Mono(1_000_000_000);

/// A node that is registered.
fn registered() -> Node {
    let settings = Settings {
        name: "near".to_owned(),
        prefix: "p1:".to_owned(),
        lease: LEASE,
        about: String::new(),
    };
    let mut node = Node::new(settings, Scripts::new(), [7; 32]);
    node.handle_connected("run", START);
    node.poll_command(START).expect("the registration");
    node.handle_reply(registration(), START);
    assert!(node.is_available());
    node
}

fn registration() -> Value {
    let world = Value::BulkString(b"world run".to_vec());
    Value::Array(vec![world, Value::Array(Vec::new())])
}

fn ok() -> Value {
    Value::BulkString(b"OK".to_vec())
}

fn restate() -> Vec<Request> {
    vec![Request::Restate {
        number: 1,
        members: Vec::new(),
    }]
}

/// Carries out the requests to restate; returns their rooms.
fn restated(node: &mut Node, now: Mono) -> Vec<Arc<str>> {
    node.handle_timeout(now);
    let mut rooms = Vec::new();
    while let Some(output) = node.poll_output() {
        if let Output::Restate { room } = output {
            node.request(&room, restate(), now);
            rooms.push(room);
        }
    }
    rooms
}

#[test]
fn fifty_rooms_are_restated_at_a_time_and_those_with_newcomers_first() {
    let mut node = registered();
    let rooms: Vec<Arc<str>> = (0..120)
        .map(|number| Arc::from(format!("room-{number}")))
        .collect();
    for room in rooms.iter().chain([&rooms[110]]) {
        node.request(room, vec![Request::Resync], START);
    }
    let now = START + Duration::from_secs(1);
    let first = restated(&mut node, now);
    assert_eq!(
        (first.len(), &first[0], &first[1]),
        (50, &rooms[110], &rooms[0])
    );
    assert_eq!(restated(&mut node, now), [] as [Arc<str>; 0]);
    let mut sent = 0;
    while node.poll_command(now).is_some() {
        sent += 1;
    }
    // The renewal of the lease comes before them.
    assert_eq!(sent, 51);
    node.handle_reply(Value::Array(vec![Value::Int(0)]), now);
    (0..10).for_each(|_| node.handle_reply(ok(), now));
    assert_eq!(restated(&mut node, now), rooms[49..59]);
}

#[test]
fn a_lost_connection_repeats_commands_and_fails_calls() {
    let mut node = registered();
    let leave = Request::Leave {
        user: "alice".into(),
        connection: crate::room::ConnectionId::new(7).unwrap(),
        reason: crate::room::Departure::Lost,
    };
    node.request(&Arc::from("lobby"), vec![leave], START);
    let ticket = node.call(Script::Limit, Vec::new());
    let commands = |node: &mut Node| {
        let mut packed = Vec::new();
        while let Some(command) = node.poll_command(START) {
            packed.push(command.get_packed_command());
        }
        packed
    };
    let before = commands(&mut node);
    node.handle_disconnected();
    let expected = Output::Answer {
        ticket,
        value: None,
    };
    assert_eq!(node.poll_output(), Some(expected));
    assert_eq!(commands(&mut node), [] as [Vec<u8>; 0]);
    node.handle_connected("run", START);
    // The call was first, then `all restated`, which a new node has at once, in the order of the requests.
    assert_eq!(commands(&mut node), before[1..]);
}

#[test]
fn an_error_of_redis_closes_the_connection() {
    let mut node = registered();
    node.handle_timeout(START);
    node.poll_command(START).unwrap();
    node.handle_reply(
        redis::parse_redis_value(b"-LOADING please wait\r\n").unwrap(),
        START,
    );
    assert!(node.is_broken() && node.poll_command(START).is_none());
    node.handle_disconnected();
    node.handle_connected("another run", START);
    assert!(!node.is_broken() && !node.is_available());
    assert_eq!(node.poll_output(), Some(Output::RosterLost));
}

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

/// The answer to a renewal of the lease that lists these nodes.
fn renewal(nodes: &[&str]) -> Value {
    let none = || Value::Array(Vec::new());
    let nodes = nodes.iter().flat_map(|node| [node, "0", ""].map(text));
    Value::Array(vec![
        Value::Int(0),
        none(),
        none(),
        none(),
        Value::Int(0),
        text("0"),
        text("1"),
        Value::Array(nodes.collect()),
    ])
}

/// An entry of an inbox that says that a node has restated all its rooms.
fn all_restated(node: &str) -> Value {
    let fields = ["t", "all-restated", "n", node].map(text).to_vec();
    let entry = Value::Array(vec![text("1-0"), Value::Array(fields)]);
    let stream = Value::Array(vec![text("inbox"), Value::Array(vec![entry])]);
    Value::Array(vec![stream])
}

#[test]
fn members_of_a_lost_roster_are_waited_for_while_another_node_restates_its_rooms() {
    let mut node = registered();
    node.handle_connected("another run", START);
    assert_eq!(node.poll_output(), Some(Output::RosterLost));
    node.rooms_visited();
    node.poll_command(START).expect("the registration");
    node.handle_reply(registration(), START);
    node.handle_timeout(START);
    node.poll_command(START).expect("the renewal");
    let own = node.id().to_string();
    node.handle_reply(renewal(&[&own, "far.1"]), START);
    node.poll_command(START).expect("all is restated");
    node.handle_reply(ok(), START);
    let later = START + Duration::from_secs(60);
    node.handle_timeout(later);
    assert_eq!(node.poll_output(), None);
    let (generation, _) = node.read_command(1, None).expect("an inbox");
    node.handle_entries(generation, all_restated("far.1"));
    let restated = Output::NodesRestated {
        room: None,
        nodes: vec!["far.1".into()],
    };
    assert_eq!(node.poll_output(), Some(restated));
    node.handle_timeout(later + Duration::from_secs(60));
    assert_eq!(node.poll_output(), Some(Output::ForgetUnconfirmed));
}
