use super::*;
use crate::rate::Limit;

const NOW: Mono = Mono(0);

fn room(users: &[&str]) -> (Room, Vec<ConnectionId>) {
    let mut room = Room::new("lobby", limits());
    let ids = users
        .iter()
        .map(|user| join(&mut room, user, NOW))
        .collect();
    (room, ids)
}

/// The default limits.
fn limits() -> Limits {
    Limits {
        messages: Limit::per_second(100, 1000),
        bytes: Limit::per_second(128 * 1024, 768 * 1024),
    }
}

fn join(room: &mut Room, user: &str, now: Mono) -> ConnectionId {
    match room.join(user, false, now, &mut Vec::new()) {
        Join::Accepted(connection) => connection,
        Join::Rejected(code) => panic!("{user} was refused: {code:?}"),
    }
}

fn text(effects: &[Effect], wanted: ConnectionId) -> Vec<String> {
    let to = |effect: &Effect| match effect {
        Effect::Deliver {
            connection, frame, ..
        } if *connection == wanted => Some(String::from_utf8(frame.to_vec()).expect("UTF-8")),
        _ => None,
    };
    effects.iter().filter_map(to).collect()
}

#[test]
fn a_newcomer_is_announced_to_the_others_and_receives_nothing() {
    let (mut room, ids) = room(&["alice"]);
    let mut effects = Vec::new();
    room.join("bob", false, NOW, &mut effects);
    let announcement =
        r#"{"type":"user-joined","data":{"userId":"bob"},"from":"bob","roomId":"lobby"}"#;
    assert_eq!(text(&effects, ids[0]), [announcement]);
    assert_eq!(effects.len(), 1);
}

#[test]
fn a_directed_message_reaches_its_target_alone() {
    let (mut room, ids) = room(&["alice", "bob", "carol"]);
    let mut effects = Vec::new();
    let input = Input::Text(r#"{"type":"offer","from":"carol","roomId":"x","to":"bob"}"#);
    let outcome = room.receive(ids[0], input, NOW, &mut effects);
    assert_eq!(
        outcome,
        Outcome::Relayed {
            kind: Kind::Offer,
            copies: 1
        }
    );
    let expected = r#"{"type":"offer","from":"alice","roomId":"lobby","to":"bob"}"#;
    assert_eq!(text(&effects, ids[1]), [expected]);
    assert_eq!(effects.len(), 1);
}

#[test]
fn the_newer_connection_wins_and_the_older_ones_end_makes_nobody_leave() {
    let (mut room, ids) = room(&["alice", "bob"]);
    let mut effects = Vec::new();
    room.join("alice", false, NOW, &mut effects);
    assert_eq!(
        effects[0],
        Effect::Close {
            connection: ids[0],
            code: CloseCode::Replaced
        }
    );
    let seen = text(&effects, ids[1]);
    assert!(seen[0].contains("user-left") && seen[1].contains("user-joined"));
    assert_eq!(effects.len(), 3);
    effects.clear();
    room.leave(ids[0], &mut effects);
    assert_eq!(effects, []);
    assert_eq!(
        room.receive(ids[0], Input::Binary, NOW, &mut effects),
        Outcome::Gone
    );
}

#[test]
fn after_three_replacements_in_a_minute_the_established_connection_stays() {
    let (mut room, _) = room(&["alice"]);
    for second in 1..=3 {
        join(&mut room, "alice", NOW + Duration::from_secs(second));
    }
    let mut effects = Vec::new();
    let refused = room.join("alice", false, NOW + Duration::from_secs(60), &mut effects);
    assert_eq!(refused, Join::Rejected(CloseCode::Replaced));
    assert_eq!(effects, []);
    join(&mut room, "alice", NOW + Duration::from_secs(61));
}

#[test]
fn a_hundred_and_one_bad_messages_in_a_row_close_the_connection() {
    let (mut room, ids) = room(&["alice", "bob"]);
    let mut effects = Vec::new();
    for _ in 0..100 {
        let outcome = room.receive(ids[0], Input::Binary, NOW, &mut effects);
        assert_eq!(outcome, Outcome::Dropped(DropReason::Binary));
    }
    assert_eq!(effects, []);
    let outcome = room.receive(ids[0], Input::Binary, NOW, &mut effects);
    assert_eq!(outcome, Outcome::Closed(CloseCode::TooManyMessages));
    assert!(text(&effects, ids[1])[0].contains("user-left"));
}

#[test]
fn more_messages_than_the_rate_close_the_connection() {
    let (mut room, ids) = room(&["alice"]);
    let mut effects = Vec::new();
    for _ in 0..1000 {
        room.receive(ids[0], Input::Control, NOW, &mut effects);
    }
    let outcome = room.receive(ids[0], Input::Control, NOW, &mut effects);
    assert_eq!(outcome, Outcome::Closed(CloseCode::TooManyMessages));
}

#[test]
fn messages_to_somebody_who_is_not_there_cost_nothing_of_the_budget() {
    let (mut room, ids) = room(&["alice", "bob"]);
    let (mut effects, mut now) = (Vec::new(), NOW);
    let gone = Input::Text(r#"{"type":"ice-candidate","from":"","roomId":"","to":"carol"}"#);
    for _ in 0..2000 {
        now = now + Duration::from_millis(10);
        let outcome = room.receive(ids[0], gone, now, &mut effects);
        assert_eq!(outcome, Outcome::Dropped(DropReason::NoSuchTarget));
    }
    // They do not restore the budget of bad messages either.
    for number in 0..100 {
        let outcome = room.receive(ids[0], Input::Binary, now, &mut effects);
        assert_eq!(outcome, Outcome::Dropped(DropReason::Binary), "{number}");
        room.receive(ids[0], gone, now, &mut effects);
    }
    assert_eq!(effects, []);
    let outcome = room.receive(ids[0], Input::Binary, now, &mut effects);
    assert_eq!(outcome, Outcome::Closed(CloseCode::TooManyMessages));
}

#[test]
fn more_bytes_than_the_budget_of_a_sender_close_the_sender() {
    let (mut room, ids) = room(&["alice", "bob"]);
    let mut effects = Vec::new();
    let filler = "x".repeat(256 * 1000);
    let text = format!(r#"{{"type":"offer","from":"","roomId":"","data":"{filler}"}}"#);
    let mut send = |number: u64| {
        let now = NOW + Duration::from_millis(10 * number);
        let outcome = room.receive(ids[0], Input::Text(&text), now, &mut effects);
        let delivered = effects.drain(..);
        let delivered = delivered.filter(|e| matches!(e, Effect::Deliver { from: Some(_), .. }));
        (outcome, delivered.count())
    };
    for number in 0..3 {
        assert!(matches!(send(number), (Outcome::Relayed { .. }, 1)));
    }
    assert_eq!(send(3), (closed(), 0));
}

#[test]
fn coming_back_buys_no_new_burst() {
    let (mut room, ids) = room(&["alice", "bob"]);
    let (mut effects, mut alice) = (Vec::new(), ids[0]);
    let filler = "x".repeat(100 * 1000);
    let text = format!(r#"{{"type":"offer","from":"","roomId":"","data":"{filler}"}}"#);
    let sent = (0..100).take_while(|_| {
        let outcome = room.receive(alice, Input::Text(&text), NOW, &mut effects);
        room.leave(alice, &mut effects);
        alice = join(&mut room, "alice", NOW);
        outcome != closed()
    });
    assert_eq!(sent.count(), 7);
    join(&mut room, "carol", NOW + Duration::from_secs(10));
    assert!(room.used_by_user.is_empty());
}

#[test]
fn many_small_messages_are_charged_for_what_a_reader_gets() {
    let long = "u".repeat(200);
    let (mut room, ids) = room(&[&long, "bob"]);
    let (mut effects, mut delivered) = (Vec::new(), 0);
    let text = Input::Text(r#"{"type":"offer","from":"","roomId":""}"#);
    room.set_limits(Limits {
        messages: Limit::UNLIMITED,
        bytes: Limit::per_second(1, 10_000),
    });
    while room.receive(ids[0], text, NOW, &mut effects) != closed() {
        for effect in effects.drain(..) {
            if let Effect::Deliver { frame, .. } = effect {
                delivered += frame.len() + MESSAGE_OVERHEAD_BYTES;
            }
        }
    }
    assert!((9_000..10_000).contains(&delivered), "{delivered}");
}

fn closed() -> Outcome {
    Outcome::Closed(CloseCode::TooManyMessages)
}

/// All participants reconnect at once and send each other 20 KB offers or answers, with 15 candidates
/// each; five seconds later all of them turn their cameras on.
#[test]
fn a_mesh_of_25_people_stays_within_the_budget_of_bytes() {
    let names: Vec<String> = (0..25).map(|number| format!("user-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut room, ids) = room(&names);
    let message = |kind: &str, to: &str, bytes: usize| {
        let data = "x".repeat(bytes);
        format!(r#"{{"type":"{kind}","from":"me","roomId":"lobby","to":"{to}","data":"{data}"}}"#)
    };
    let mut effects = Vec::new();
    for (second, candidates) in [(0, 15), (5, 0)] {
        for (sender, id) in ids.iter().enumerate() {
            let others = names
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != sender);
            for (other, to) in others {
                let now = NOW + Duration::from_millis(1000 * second + 40 * other as u64);
                let mut send = |text: &str| {
                    let outcome = room.receive(*id, Input::Text(text), now, &mut effects);
                    assert!(matches!(outcome, Outcome::Relayed { copies: 1, .. }));
                };
                send(&message("offer", to, 20 * 1024));
                let candidate = message("ice-candidate", to, 250);
                (0..candidates).for_each(|_| send(&candidate));
            }
        }
    }
}

#[test]
fn a_connection_that_is_lost_during_a_drain_is_announced_once_its_user_leaves() {
    let (mut room, ids) = room(&["alice", "bob"]);
    let mut effects = Vec::new();
    room.connection_lost(ids[1], &mut effects);
    assert_eq!(effects, []);
    assert!(room.users().any(|user| **user == *"bob"));
    assert!(!room.close_user("bob", CloseCode::NotAParticipant, &mut effects));
    assert!(text(&effects, ids[0])[0].contains("user-left"));
    assert_eq!((effects.len(), room.users().count()), (1, 1));
}

#[test]
fn those_whom_a_drain_sends_away_count_as_connected_until_they_leave() {
    let (mut room, ids) = room(&["alice", "bob"]);
    let mut effects = Vec::new();
    room.close_for_drain(CloseCode::Restarting, &mut effects);
    assert_eq!(effects.len(), 2);
    assert!(effects.iter().all(|e| matches!(e, Effect::Close { .. })));
    ids.iter().for_each(|id| room.leave(*id, &mut effects));
    assert_eq!((effects.len(), room.users().count()), (2, 2));
    for user in ["alice", "bob"] {
        assert!(!room.is_empty());
        room.close_user(user, CloseCode::NotAParticipant, &mut effects);
    }
    assert!(room.is_empty());
}

#[test]
fn closing_the_room_closes_everybody_in_silence() {
    let (mut room, _) = room(&["alice", "bob"]);
    let mut effects = Vec::new();
    room.close_all(CloseCode::RoomClosed, &mut effects);
    assert_eq!(effects.len(), 2);
    assert!(effects.iter().all(|e| matches!(e, Effect::Close { .. })));
    assert!(room.is_empty());
}
