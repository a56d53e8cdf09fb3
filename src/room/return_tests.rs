//! Announcements of a user who returns after a restart: by the protocol of each member, and by whether the member
//! has returned as well.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ConnectionId, Effect, Entrant, Join, Limits, Profile, Role, Room};
use crate::clock::Mono;

const UNTIL: Mono = Mono(100);

/// A room that expects these users back.
fn room(expected: &[&str]) -> Room {
    let mut room = Room::new("lobby", Limits::UNLIMITED);
    room.expect_return(expected.iter().map(|user| Arc::from(*user)), UNTIL);
    room
}

/// Connects a user; returns the connection, and each frame that others receive.
fn join(
    room: &mut Room,
    user: &str,
    is_extended: bool,
    resume: bool,
) -> (ConnectionId, Vec<(ConnectionId, Value)>) {
    let mut effects = Vec::new();
    let profile = Profile {
        display_name: user.to_uppercase().into(),
        role: Role::Member,
        joined_at: 0,
    };
    let entrant = Entrant {
        user,
        profile: Some(Box::new(profile)),
        is_extended,
        resume,
    };
    let Join::Accepted(connection) = room.join_as(entrant, Mono(1), &mut effects) else {
        panic!("{user} is rejected");
    };
    let frames = effects.into_iter().map(|effect| match effect {
        Effect::Deliver {
            connection, frame, ..
        } => (connection, serde_json::from_slice(&frame).expect("JSON")),
        Effect::Close { .. } | Effect::Welcome { .. } => panic!("one node, and nobody is closed"),
    });
    (connection, frames.collect())
}

#[test]
fn a_return_is_an_update_to_those_who_returned_and_a_join_to_the_others() {
    let mut room = room(&["plain", "extended", "alice"]);
    let (plain, _) = join(&mut room, "plain", false, true);
    let (extended, _) = join(&mut room, "extended", true, true);
    let (new_plain, _) = join(&mut room, "new-plain", false, false);
    let (new_extended, _) = join(&mut room, "new-extended", true, false);
    let (_, mut frames) = join(&mut room, "alice", true, true);
    frames.sort_unstable_by_key(|(connection, _)| *connection);
    let kinds: Vec<_> = frames
        .iter()
        .map(|(connection, frame)| (*connection, frame["type"].as_str().expect("a type")))
        .collect();
    let expected = [
        (extended, "participant-updated"),
        (new_plain, "user-joined"),
        (new_extended, "user-joined"),
    ];
    assert_eq!(kinds, expected);
    assert!(!kinds.iter().any(|(connection, _)| *connection == plain));
    let updated = &frames[0].1;
    assert_eq!(updated["from"], "alice");
    let participant = json!(["alice", "ALICE", true]);
    let shown = |one: &Value| json!([one["userId"], one["displayName"], one["connected"]]);
    assert_eq!(shown(&updated["data"]), participant);
    assert_eq!(shown(&frames[2].1["data"]["participant"]), participant);
}

#[test]
fn a_user_who_begins_anew_is_no_return() {
    let mut room = room(&["extended", "alice"]);
    let (extended, _) = join(&mut room, "extended", true, true);
    // Neither an expected user without `resume`, nor one who was not expected.
    for (user, expected) in [
        ("alice", &["user-left", "user-joined"][..]),
        ("bob", &["user-joined"]),
    ] {
        let (_, frames) = join(&mut room, user, true, user == "bob");
        let kinds: Vec<_> = frames
            .iter()
            .filter(|(connection, _)| *connection == extended)
            .map(|(_, frame)| frame["type"].as_str().expect("a type"))
            .collect();
        assert_eq!(kinds, expected, "{user}");
    }
}

#[test]
fn a_plain_user_who_returns_is_an_update_to_extended_ones_too() {
    let mut room = room(&["extended", "gone", "plain"]);
    let (extended, _) = join(&mut room, "extended", true, true);
    let (plain, frames) = join(&mut room, "plain", false, true);
    let [(connection, frame)] = &frames[..] else {
        panic!("{frames:?}");
    };
    assert_eq!(
        (*connection, &frame["type"]),
        (extended, &json!("participant-updated"))
    );
    // A user who has left since is replayed to a plain client alone: the other one has a roster.
    room.leave(plain, &mut Vec::new());
    let (_, frames) = join(&mut room, "gone", true, true);
    let kinds: Vec<_> = frames.iter().map(|(_, frame)| &frame["type"]).collect();
    assert_eq!(kinds, [&json!("participant-updated")]);
}
