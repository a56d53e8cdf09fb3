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
