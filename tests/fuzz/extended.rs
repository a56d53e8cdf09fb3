//! Frames of a `parlor.v1` client in a room with another one and a plain client. The whole input is one frame.

use parlor::clock::Mono;
use parlor::room::{
    ConnectionId, DropReason, Effect, Entrant, Input as Sent, Join, Kind, Limits, Outcome, Room,
    Session,
};
use serde_json::Value;

const ROOM: &str = "lobby";

fn enter(room: &mut Room, user: &str, is_extended: bool) -> ConnectionId {
    let entrant = Entrant {
        user,
        profile: None,
        is_extended,
        resume: false,
    };
    match room.join_as(entrant, Mono(0), &mut Vec::new()) {
        Join::Accepted(connection) => connection,
        Join::Rejected(code) => panic!("{user} was refused: {code:?}"),
    }
}

pub fn run(bytes: &[u8]) {
    let mut room = Room::new(ROOM, Limits::UNLIMITED);
    let alice = enter(&mut room, "alice", true);
    let bob = enter(&mut room, "bob", true);
    let plain = enter(&mut room, "plain", false);
    let text = String::from_utf8_lossy(bytes);
    // Repeated, to meet the memory of ids.
    let outcomes = [(); 2].map(|()| {
        let mut effects = Vec::new();
        let outcome = room.receive(alice, Sent::Text(&text), Mono(0), &mut effects);
        check(&effects, outcome, [alice, bob, plain]);
        if outcome == Outcome::Requested {
            assert!(effects.is_empty() && room.take_request(alice).is_some());
            room.answer(alice, Ok(()), &mut Vec::new());
        }
        outcome
    });
    match outcomes {
        [Outcome::Dropped(one), second] => assert_eq!(second, Outcome::Dropped(one)),
        [_, Outcome::Dropped(reason)] => panic!("{reason:?} for a repeated frame"),
        _ => {}
    }
}

/// Checks the copies, and the answer to the sender.
fn check(effects: &[Effect], outcome: Outcome, [alice, bob, plain]: [ConnectionId; 3]) {
    let mut answers = Vec::new();
    let mut copies = 0;
    for effect in effects {
        let Effect::Deliver {
            connection,
            frame,
            from,
        } = effect
        else {
            panic!("two texts close nobody");
        };
        let is_copy = from.is_some();
        let numbered = bytes::Bytes::from(Session::new([0; 16]).number(frame.clone()));
        let value: Result<Value, _> = serde_json::from_slice(frame);
        if is_copy {
            copies += 1;
            assert!([bob, plain, alice].contains(connection));
        }
        // serde_json rejects deep nesting and lone surrogates: there is nothing to check then.
        let Ok(value) = value else { continue };
        assert_eq!(value["roomId"], ROOM);
        if *connection == plain {
            assert!(is_copy && value["from"] == "alice");
            let kinds = Kind::ALL.map(Kind::label);
            let kind = value["type"].as_str().expect("a type");
            assert!(kinds.contains(&kind) && kind != "message");
            continue;
        }
        let numbered: Value = serde_json::from_slice(&numbered).expect("JSON with a number");
        assert_eq!(numbered["seq"], 1, "{value}");
        if is_copy {
            assert_eq!(value["from"], "alice");
            assert!(value.get("seq").is_none(), "{value}");
            let is_announcement = value["type"] == "user-joined";
            assert!(!is_announcement || value["data"].get("participant").is_none());
        } else if matches!(value["type"].as_str(), Some("ack" | "error")) {
            assert_eq!(*connection, alice);
            answers.push(value);
        } else {
            assert_eq!(value["type"], "participant-updated");
        }
    }
    match outcome {
        Outcome::Relayed { copies: all, .. } => assert_eq!(copies, all),
        Outcome::Dropped(reason) => {
            assert_eq!((copies, answers.len()), (0, 1));
            assert_eq!(answers[0]["type"], "error");
            let has_id = answers[0].get("ref").is_some();
            assert!(!has_id || reason != DropReason::NotJson);
        }
        Outcome::Handled | Outcome::Acknowledged(_) | Outcome::Requested => assert_eq!(copies, 0),
        Outcome::Repeated => assert_eq!((copies, answers.len()), (0, 1)),
        Outcome::Control | Outcome::Closed(_) | Outcome::Gone => panic!("{outcome:?}"),
    }
    assert!(answers.len() <= 1);
}
