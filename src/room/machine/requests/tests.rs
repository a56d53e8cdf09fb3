//! Requests of a member of `parlor.v1`, and their answers.

use serde_json::{Value, json};

use super::*;
use crate::clock::Mono;
use crate::room::{Entrant, Input, Join, Limits, Outcome};

struct Fixture {
    room: Room,
    alice: ConnectionId,
}

impl Fixture {
    fn new() -> Fixture {
        let mut room = Room::new("lobby", Limits::UNLIMITED);
        let entrant = Entrant {
            user: "alice",
            profile: None,
            is_extended: true,
            resume: false,
        };
        match room.join_as(entrant, Mono(0), &mut Vec::new()) {
            Join::Accepted(alice) => Fixture { room, alice },
            Join::Rejected(code) => panic!("{code:?}"),
        }
    }

    /// The outcome of a frame, and the frames that alice gets.
    fn send(&mut self, frame: &Value) -> (Outcome, Vec<Value>) {
        let mut effects = Vec::new();
        let text = frame.to_string();
        let outcome = self
            .room
            .receive(self.alice, Input::Text(&text), Mono(0), &mut effects);
        (outcome, frames(effects))
    }

    fn answer(&mut self, result: Result<(), Rejection<'_>>) -> Vec<Value> {
        let mut effects = Vec::new();
        self.room.answer(self.alice, result, &mut effects);
        frames(effects)
    }
}

fn frames(effects: Vec<Effect>) -> Vec<Value> {
    let frame = |effect| match effect {
        Effect::Deliver { frame, .. } => serde_json::from_slice(&frame).expect("JSON"),
        other => panic!("{other:?}"),
    };
    effects.into_iter().map(frame).collect()
}

fn chat(id: Option<&str>) -> Value {
    let mut frame =
        json!({"type": "chat", "from": "alice", "roomId": "lobby", "data": {"content": "Hello"}});
    if let Some(id) = id {
        frame["id"] = id.into();
    }
    frame
}

#[test]
fn a_request_is_acknowledged_after_its_answer_and_once() {
    let mut fixture = Fixture::new();
    assert_eq!(
        fixture.send(&chat(Some("a"))),
        (Outcome::Requested, Vec::new())
    );
    let content = "Hello".to_owned();
    let request = fixture.room.take_request(fixture.alice);
    assert_eq!(request, Some(ClientRequest::Chat { content }));
    assert!(fixture.room.awaits_answer(fixture.alice));
    // The client has resumed its session meanwhile, and sends the frame again.
    assert_eq!(
        fixture.send(&chat(Some("a"))),
        (Outcome::Repeated, Vec::new())
    );
    assert_eq!(fixture.room.take_request(fixture.alice), None);
    let ack = json!({"type": "ack", "ref": "a", "roomId": "lobby", "data": {}});
    assert_eq!(fixture.answer(Ok(())), std::slice::from_ref(&ack));
    assert!(!fixture.room.awaits_answer(fixture.alice));
    assert_eq!(
        fixture.send(&chat(Some("a"))),
        (Outcome::Repeated, vec![ack])
    );
}

#[test]
fn a_rejected_request_may_be_sent_again() {
    let mut fixture = Fixture::new();
    for id in [None, Some("a"), Some("a")] {
        assert_eq!(fixture.send(&chat(id)), (Outcome::Requested, Vec::new()));
        let message = "A \"quoted\" sentence";
        let answers = fixture.answer(Err(Rejection {
            code: "forbidden",
            message,
        }));
        let mut error = json!({"type": "error", "roomId": "lobby", "data": {"code": "forbidden", "message": message}});
        if let Some(id) = id {
            error["ref"] = id.into();
        }
        assert_eq!(answers, [error]);
    }
}

#[test]
fn a_request_without_an_id_has_no_answer_but_errors() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.send(&chat(None)), (Outcome::Requested, Vec::new()));
    assert!(fixture.answer(Ok(())).is_empty());
    assert!(fixture.answer(Ok(())).is_empty(), "there is no request");
}

#[test]
fn a_member_has_one_request_at_a_time() {
    let mut fixture = Fixture::new();
    fixture.send(&chat(Some("a")));
    let (outcome, answers) = fixture.send(&chat(Some("b")));
    assert_eq!(outcome, Outcome::Dropped(DropReason::RateLimited));
    assert_eq!(answers[0]["ref"], "b");
    assert_eq!(fixture.answer(Ok(()))[0]["ref"], "a");
}

#[test]
fn the_data_of_a_request_is_an_object_with_its_fields() {
    let mut fixture = Fixture::new();
    for data in [
        json!(["Hello"]),
        json!({}),
        json!({"content": 1}),
        json!("Hello"),
        Value::Null,
    ] {
        let mut frame = chat(None);
        frame["data"] = data;
        let (outcome, _) = fixture.send(&frame);
        assert_eq!(outcome, Outcome::Dropped(DropReason::BadData), "{frame}");
    }
}

#[test]
fn the_answer_to_a_member_who_has_left_reaches_nobody() {
    let mut fixture = Fixture::new();
    fixture.send(&chat(Some("a")));
    fixture.room.leave(fixture.alice, &mut Vec::new());
    assert!(fixture.answer(Ok(())).is_empty());
    assert!(!fixture.room.awaits_answer(fixture.alice));
}

#[test]
fn statistics_beyond_three_at_once_are_rejected_and_are_no_request() {
    let mut fixture = Fixture::new();
    let stats = json!({"type": "stats", "from": "", "roomId": "", "data": {"received": []}});
    for _ in 0..3 {
        assert_eq!(fixture.send(&stats), (Outcome::Requested, Vec::new()));
        let request = fixture.room.take_request(fixture.alice);
        assert_eq!(request, Some(ClientRequest::Stats(Vec::new())));
        assert!(fixture.answer(Ok(())).is_empty());
    }
    let (outcome, frames) = fixture.send(&stats);
    assert_eq!(outcome, Outcome::Dropped(DropReason::RateLimited));
    assert_eq!(frames[0]["data"]["code"], "rate-limited");
    assert!(!fixture.room.awaits_answer(fixture.alice));
}
