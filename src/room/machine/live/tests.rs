//! Notices of the relay to members.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::Mono;
use crate::room::{ConnectionId, Entrant, Join, Limits};

fn enter(room: &mut Room, user: &str, is_extended: bool) -> ConnectionId {
    let entrant = Entrant {
        user,
        profile: None,
        is_extended,
        resume: false,
    };
    match room.join_as(entrant, Mono(0), &mut Vec::new()) {
        Join::Accepted(connection) => connection,
        Join::Rejected(code) => panic!("{code:?}"),
    }
}

/// The frames of these effects, by their receivers.
fn delivered(effects: Vec<Effect>) -> Vec<(ConnectionId, Value)> {
    let delivered = effects.into_iter().map(|effect| match effect {
        Effect::Deliver {
            connection,
            frame,
            from: None,
        } => (connection, serde_json::from_slice(&frame).expect("JSON")),
        other => panic!("{other:?}"),
    });
    delivered.collect()
}

#[test]
fn a_lost_path_concerns_the_member_alone_and_only_while_it_is_connected() {
    let mut room = Room::new("lobby", Limits::UNLIMITED);
    let alice = enter(&mut room, "alice", true);
    enter(&mut room, "bob", true);
    enter(&mut room, "plain", false);
    let send = |room: &Room, user: &str, is_lost| {
        let mut effects = Vec::new();
        let is_member = room.send_path_change(user, is_lost, &mut effects);
        (is_member, delivered(effects))
    };
    let frame = |kind: &str| json!({"type": kind, "roomId": "lobby", "data": {}});
    let expected = (true, vec![(alice, frame("path-lost"))]);
    assert_eq!(send(&room, "alice", true), expected);
    let expected = (true, vec![(alice, frame("path-restored"))]);
    assert_eq!(send(&room, "alice", false), expected);
    assert_eq!(send(&room, "plain", true), (true, Vec::new()));
    assert_eq!(send(&room, "nobody", true), (false, Vec::new()));
    room.set_away(alice, Mono(0), Mono(0) + Duration::from_secs(30));
    assert_eq!(send(&room, "alice", true), (true, Vec::new()));
}

#[test]
fn the_quality_of_links_goes_to_connected_members_of_the_protocol() {
    let mut room = Room::new("lobby", Limits::UNLIMITED);
    let alice = enter(&mut room, "alice", true);
    let bob = enter(&mut room, "bob", true);
    enter(&mut room, "plain", false);
    room.set_away(bob, Mono(0), Mono(0) + Duration::from_secs(30));
    let mut effects = Vec::new();
    room.send_quality(r#"[{"userId":"bob"}]"#, &mut effects);
    let links = json!({"links": [{"userId": "bob"}]});
    let frame = json!({"type": "quality", "roomId": "lobby", "data": links});
    assert_eq!(delivered(effects), [(alice, frame)]);
}
