use std::time::Duration;

use serde_json::json;

use super::*;
use crate::turn::Loss;

/// A link that loses this many of 1,000 packets.
fn losing(lost: u64) -> LinkValues {
    LinkValues {
        loss: Loss {
            expected: 1000,
            lost,
        },
        jitter: Some(Duration::from_micros(4040)),
        round_trip: Some(Duration::from_micros(20_600)),
        kbps: 40,
        silent: Some(Duration::from_millis(7)),
    }
}

/// A poll of the room `lobby`: the loss of each user's upload.
fn poll<const N: usize>(users: [(&str, u64); N]) -> RoomLinks {
    let users = users.map(|(user, lost)| (user.into(), [losing(lost), losing(0)]));
    RoomLinks::from([("lobby".into(), users.into())])
}

/// The users and levels that the room gets after a poll.
fn levels(known: &mut KnownLinks, current: &RoomLinks) -> Vec<(String, Level)> {
    let rooms = known.update(current);
    assert!(rooms.len() <= 1, "{rooms:?}");
    let links = rooms.into_iter().flat_map(|(room, links)| {
        assert_eq!(&*room, "lobby");
        links
    });
    let levels = links.map(|link| {
        assert_eq!(link.direction, Direction::Up);
        (link.user_id.into(), link.level)
    });
    levels.collect()
}

fn is(user: &str, level: Level) -> Vec<(String, Level)> {
    vec![(user.to_owned(), level)]
}

#[test]
fn a_room_gets_changed_levels_at_once_and_repetitions_of_those_that_are_not_good() {
    let mut known = KnownLinks::default();
    assert_eq!(levels(&mut known, &poll([("alice", 0), ("bob", 0)])), []);
    let weak = poll([("alice", 30), ("bob", 0)]);
    assert_eq!(levels(&mut known, &weak), is("alice", Level::Weak));
    for _ in 0..2 {
        for _ in 1..POLLS_PER_REPETITION {
            assert_eq!(levels(&mut known, &weak), []);
        }
        assert_eq!(levels(&mut known, &weak), is("alice", Level::Weak));
    }
    let bad = poll([("alice", 90), ("bob", 0)]);
    assert_eq!(levels(&mut known, &bad), is("alice", Level::Bad));
    let good = poll([("alice", 0), ("bob", 0)]);
    assert_eq!(levels(&mut known, &good), is("alice", Level::Good));
    for _ in 0..2 * POLLS_PER_REPETITION {
        assert_eq!(levels(&mut known, &good), []);
    }
}

#[test]
fn a_link_without_media_is_good_and_then_forgotten() {
    let mut known = KnownLinks::default();
    levels(&mut known, &poll([("alice", 90), ("bob", 0)]));
    let gone = poll([("bob", 0)]);
    assert_eq!(levels(&mut known, &gone), is("alice", Level::Good));
    assert_eq!(levels(&mut known, &RoomLinks::new()), []);
    assert!(known.rooms.is_empty(), "{known:?}");
}

#[test]
fn a_frame_has_64_links_and_the_next_one_has_the_rest() {
    let mut known = KnownLinks::default();
    let names: Vec<String> = (0..MAX_LINKS + 6).map(|one| format!("{one:03}")).collect();
    let users = names.iter().map(|name| {
        let user: Box<str> = name.as_str().into();
        (user, [losing(30), losing(0)])
    });
    let all = RoomLinks::from([("lobby".into(), users.collect())]);
    let sent = [(); 3].map(|()| levels(&mut known, &all).len());
    assert_eq!(sent, [MAX_LINKS, 6, 0]);
}

#[test]
fn a_report_has_rounded_numbers_and_null_for_unknown_ones() {
    let report = LinkReport::new("alice", Direction::Up, Level::Weak, &losing(31));
    let expected = json!({
        "userId": "alice", "direction": "up", "level": "weak", "lossPct": 3.1, "jitterMs": 4.0,
        "rttMs": 21, "kbps": 40, "silentMs": 7,
    });
    assert_eq!(serde_json::to_value(&report).expect("JSON"), expected);
    let report = LinkReport::new("bob", Direction::Down, Level::Good, &LinkValues::default());
    let expected = json!({
        "userId": "bob", "direction": "down", "level": "good", "lossPct": null, "jitterMs": null,
        "rttMs": null, "kbps": null, "silentMs": null,
    });
    assert_eq!(serde_json::to_value(&report).expect("JSON"), expected);
}
