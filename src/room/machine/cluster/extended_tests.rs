//! Members that speak `parlor.v1` in a room of several nodes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::room::machine::{Input, Limits, Outcome};
use crate::room::profile::Profile;
use crate::room::roster::{Entry, RosterEvent};

const NOW: Mono = Mono(0);

fn connection(number: u64) -> ConnectionId {
    ConnectionId::new(number).expect("a number")
}

fn place(node: &str, number: u64, age: u64) -> Place {
    Place {
        age,
        node: node.into(),
        connection: connection(number),
    }
}

fn description(name: &str, is_extended: bool) -> Option<Box<Description>> {
    let text = json!({"name": name, "role": "moderator", "extended": is_extended});
    Description::parse(&text.to_string()).map(Box::new)
}

/// Alice, who speaks `parlor.v1` and entered between bob and carol of node `there`. Bob's client is plain.
fn room() -> (Room, ConnectionId, Vec<Effect>) {
    let mut room = Room::new("lobby", Limits::UNLIMITED);
    room.connect("here".into(), connection(1));
    let profile = Profile {
        display_name: "Alice".into(),
        role: Role::Member,
        joined_at: 0,
    };
    let entrant = Entrant {
        user: "alice",
        profile: Some(Box::new(profile)),
        is_extended: true,
        resume: false,
    };
    let alice = room.enter_as(entrant, NOW);
    room.take_requests();
    let entry = |user: &str, place, is_extended| Entry {
        user: user.into(),
        place,
        description: description(user, is_extended),
        awaited_since: None,
    };
    let roster = vec![
        entry("carol", place("there", 8, 30), true),
        entry("alice", place("here", alice.number(), 20), true),
        entry("bob", place("there", 7, 10), false),
    ];
    let mut effects = Vec::new();
    let entered = RosterEvent::Entered {
        seq: 1,
        user: "alice".into(),
        place: Some(place("here", alice.number(), 20)),
        description: None,
        roster: Some(roster),
        returned: None,
    };
    room.apply(entered, &mut effects);
    room.take_requests();
    (room, alice, effects)
}

/// The frames in effects.
fn frames(effects: &[Effect]) -> Vec<Value> {
    let frame = |effect: &Effect| match effect {
        Effect::Deliver { frame, .. } => serde_json::from_slice(frame).ok(),
        _ => None,
    };
    effects.iter().filter_map(frame).collect()
}

#[test]
fn a_connection_begins_with_the_older_members_and_is_notified_of_the_newer_ones() {
    let (_, alice, effects) = room();
    let welcome = effects.iter().find_map(|effect| match effect {
        Effect::Welcome {
            connection,
            participants,
        } => Some((*connection, participants.text().to_owned())),
        _ => None,
    });
    let (connection, participants) = welcome.expect("a welcome");
    assert_eq!(connection, alice);
    let participants: Value = serde_json::from_str(&format!("[{participants}]")).unwrap();
    let users: Vec<&Value> = participants
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["userId"])
        .collect();
    assert_eq!(users, ["bob", "alice"]);
    assert_eq!(participants[0]["role"], "moderator");
    let joined = &frames(&effects)[0];
    assert_eq!(
        (&joined["type"], &joined["from"]),
        (&json!("user-joined"), &json!("carol"))
    );
    assert_eq!(joined["data"]["participant"]["displayName"], "carol");
}

#[test]
fn a_changed_description_is_announced_if_it_is_of_the_current_connection() {
    let (mut room, _, _) = room();
    let mut described = |number, seq, name| {
        let mut effects = Vec::new();
        let event = RosterEvent::Described {
            seq,
            user: "carol".into(),
            node: "there".into(),
            connection: connection(number),
            description: description(name, true),
        };
        room.apply(event, &mut effects);
        (frames(&effects), room.take_requests())
    };
    let (updated, _) = described(8, 1, "Carol");
    assert_eq!(updated[0]["type"], "participant-updated");
    assert_eq!(updated[0]["data"]["displayName"], "Carol");
    assert_eq!(
        described(8, 1, "Carol").0,
        [] as [Value; 0],
        "nothing changed"
    );
    assert_eq!(
        described(9, 1, "Eve").0,
        [] as [Value; 0],
        "of an earlier connection"
    );
    // An event between them was lost.
    assert_eq!(described(8, 2, "Cleo"), (Vec::new(), vec![Request::Resync]));
}

#[test]
fn a_departure_has_its_reason() {
    let (mut room, _, _) = room();
    let mut effects = Vec::new();
    let left = RosterEvent::Left {
        seq: 2,
        user: "carol".into(),
        node: "there".into(),
        connection: connection(8),
        reason: Departure::Kicked,
    };
    room.apply(left, &mut effects);
    assert_eq!(frames(&effects)[0]["data"]["reason"], "kicked");
    let mut effects = Vec::new();
    room.close_user_for(Departure::Banned, "alice", CloseCode::Removed, &mut effects);
    let leaves = |request: &Request| matches!(request, Request::Leave { reason, .. } if *reason == Departure::Banned);
    assert!(room.take_requests().iter().any(leaves));
}

#[test]
fn messages_of_applications_go_to_clients_that_speak_parlor_v1() {
    let (mut room, alice, _) = room();
    let mut send = |to: Option<&str>| {
        let text = json!({"type": "message", "from": "", "roomId": "", "to": to, "data": 1});
        let text = text.to_string();
        let outcome = room.receive(alice, Input::Text(&text), NOW, &mut Vec::new());
        (outcome, room.take_requests())
    };
    let (outcome, requests) = send(None);
    assert!(
        matches!(outcome, Outcome::Relayed { copies: 1, .. }),
        "{outcome:?}"
    );
    let is_extended =
        |request: &Request| matches!(request, Request::Send { frame, .. } if frame.is_extended);
    assert!(
        requests.len() == 1 && is_extended(&requests[0]),
        "{requests:?}"
    );
    assert!(is_extended(&send(Some("carol")).1[0]));
    assert_eq!(
        send(Some("bob")),
        (Outcome::Dropped(DropReason::PlainTarget), Vec::new())
    );
}

#[test]
fn a_frame_of_another_node_has_no_key_of_the_server() {
    let (room, alice, _) = room();
    let deliver = |frame: &'static str, user: &str, number| {
        let mut effects = Vec::new();
        let sent = RemoteFrame {
            user: Arc::from(user),
            from: connection(number),
            to: Some(alice),
            is_extended: false,
            frame: frame.into(),
        };
        room.receive_remote(&"there".into(), &sent, &mut effects);
        frames(&effects).remove(0)
    };
    let offer =
        r#"{"type":"offer","seq":7,"from":"bob","roomId":"lobby","data":{"participant":1}}"#;
    let expected =
        json!({"type": "offer", "from": "bob", "roomId": "lobby", "data": {"participant": 1}});
    assert_eq!(deliver(offer, "bob", 7), expected);
    let joined = r#"{"type":"user-joined","from":"bob","roomId":"lobby","data":{"userId":"x","participant":1}}"#;
    let expected =
        json!({"type": "user-joined", "from": "bob", "roomId": "lobby", "data": {"userId": "x"}});
    assert_eq!(deliver(joined, "bob", 7), expected);
}

#[test]
fn a_plain_member_gets_no_message_of_an_application_from_another_node() {
    let mut room = Room::new("lobby", Limits::UNLIMITED);
    room.connect("here".into(), connection(1));
    let dan = room.enter("dan", false, NOW);
    let entry = |user: &str, place| Entry {
        user: user.into(),
        place,
        description: None,
        awaited_since: None,
    };
    let entered = RosterEvent::Entered {
        seq: 1,
        user: "dan".into(),
        place: Some(place("here", dan.number(), 20)),
        description: None,
        roster: Some(vec![
            entry("bob", place("there", 7, 10)),
            entry("dan", place("here", dan.number(), 20)),
        ]),
        returned: None,
    };
    room.apply(entered, &mut Vec::new());
    let deliver = |is_extended| {
        let sent = RemoteFrame {
            user: "bob".into(),
            from: connection(7),
            to: None,
            is_extended,
            frame: "{}".into(),
        };
        room.receive_remote(&"there".into(), &sent, &mut Vec::new())
    };
    assert_eq!((deliver(true), deliver(false)), (0, 1));
}
