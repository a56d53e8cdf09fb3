use super::*;
use crate::room::machine::{Input, Limits, Outcome};
use crate::room::roster::{Entry, RosterEvent};

const NOW: Mono = Mono(0);

/// A room of node `here`, and the effects and requests of the last call.
struct Fixture {
    room: Room,
    effects: Vec<Effect>,
    requests: Vec<Request>,
}

impl Fixture {
    fn new() -> Fixture {
        let mut room = Room::new("lobby", Limits::UNLIMITED);
        room.connect("here".into(), connection(1));
        Fixture {
            room,
            effects: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// A room with alice, who entered after bob did at another node. The last event has number 1.
    fn with_alice_and_bob() -> (Fixture, ConnectionId) {
        let mut fixture = Fixture::new();
        let alice = fixture.room.enter("alice", false, NOW);
        fixture.room.take_requests();
        let roster = vec![entry("bob", "there", 7, 10), entry("alice", "here", 1, 20)];
        fixture.apply(RosterEvent::Entered {
            seq: 1,
            user: "alice".into(),
            place: Some(place("here", 1, 20)),
            description: None,
            roster: Some(roster),
            returned: None,
        });
        (fixture, alice)
    }

    /// [`Fixture::with_alice_and_bob`] after the roster was lost, and restated by this node alone.
    fn with_bob_unconfirmed() -> Fixture {
        let (mut fixture, _) = Fixture::with_alice_and_bob();
        fixture.room.roster_lost();
        fixture.room.restate();
        fixture.apply(RosterEvent::Snapshot {
            seq: 90,
            number: 1,
            roster: vec![entry("alice", "here", 1, 20)],
        });
        fixture
    }

    fn apply(&mut self, event: RosterEvent) {
        self.effects.clear();
        self.room.apply(event, &mut self.effects);
        self.requests = self.room.take_requests();
    }

    /// The types and users of the messages in the effects.
    fn messages(&self) -> Vec<String> {
        let message = |effect: &Effect| {
            let Effect::Deliver {
                connection, frame, ..
            } = effect
            else {
                return format!("{effect:?}");
            };
            let frame: serde_json::Value = serde_json::from_slice(frame).unwrap();
            let (kind, from) = (frame["type"].as_str(), frame["from"].as_str());
            format!(
                "{} {} to {}",
                kind.unwrap(),
                from.unwrap(),
                connection.number()
            )
        };
        self.effects.iter().map(message).collect()
    }
}

fn connection(number: u64) -> ConnectionId {
    ConnectionId::new(number).unwrap()
}

fn place(node: &str, number: u64, age: u64) -> Place {
    Place {
        age,
        node: node.into(),
        connection: connection(number),
    }
}

fn entry(user: &str, node: &str, number: u64, age: u64) -> Entry {
    Entry {
        user: user.into(),
        place: place(node, number, age),
        description: None,
        awaited_since: None,
    }
}

/// The description of a plain client of whom only the id is known.
fn plain(user: &str) -> Box<Description> {
    let text = format!(r#"{{"name":"{user}","role":"member"}}"#);
    Description::parse(&text).map(Box::new).unwrap()
}

/// The request that ends a connection of bob that was replaced.
fn end(node: &str, number: u64, age: u64) -> Request {
    Request::End {
        user: "bob".into(),
        place: place(node, number, age),
        reason: Departure::Left,
    }
}

fn entered(seq: u64, user: &str, node: &str, number: u64, age: u64) -> RosterEvent {
    RosterEvent::Entered {
        seq,
        user: user.into(),
        place: Some(place(node, number, age)),
        description: None,
        roster: None,
        returned: None,
    }
}

#[test]
fn a_connection_is_a_member_once_the_roster_lists_it() {
    let mut fixture = Fixture::new();
    let alice = fixture.room.enter("alice", false, NOW);
    assert_eq!(
        fixture.room.take_requests(),
        [Request::Enter {
            user: "alice".into(),
            connection: alice,
            resume: false,
            description: plain("alice"),
        }]
    );
    let text = r#"{"type":"offer","from":"","roomId":""}"#;
    let outcome = fixture
        .room
        .receive(alice, Input::Text(text), NOW, &mut Vec::new());
    assert_eq!((outcome, fixture.room.users().count()), (Outcome::Gone, 0));
    let (fixture, alice) = Fixture::with_alice_and_bob();
    assert_eq!(
        fixture.requests,
        [Request::Admitted {
            connection: alice,
            is_resumed: false
        }]
    );
    assert_eq!(fixture.messages(), [""; 0], "a newcomer receives nothing");
}

#[test]
fn of_two_members_the_older_one_is_notified_of_the_newer_one() {
    let (mut fixture, _) = Fixture::with_alice_and_bob();
    fixture.apply(entered(2, "carol", "there", 8, 30));
    assert_eq!(fixture.messages(), ["user-joined carol to 1"]);
    fixture.apply(entered(3, "dan", "there", 9, 15));
    assert_eq!(fixture.messages(), [""; 0]);
}

#[test]
fn a_connection_on_another_node_replaces_the_earlier_one() {
    let (mut fixture, alice) = Fixture::with_alice_and_bob();
    let carol = fixture.room.enter("carol", false, NOW);
    fixture.apply(entered(2, "carol", "here", carol.number(), 30));
    fixture.apply(entered(3, "bob", "far", 7, 40));
    let mut messages = fixture.messages();
    messages.sort_unstable();
    let expected = [
        "user-joined bob to 1",
        "user-joined bob to 3",
        "user-left bob to 1",
        "user-left bob to 3",
    ];
    assert_eq!(messages, expected);
    fixture.apply(entered(4, "alice", "far", 8, 50));
    let closed = Effect::Close {
        connection: alice,
        code: CloseCode::Replaced,
    };
    assert_eq!(fixture.effects[0], closed);
    assert_eq!(
        fixture.requests,
        [],
        "the roster knows that alice's connection was replaced"
    );
}

#[test]
fn a_refused_connection_is_closed_with_4009() {
    let mut fixture = Fixture::new();
    let alice = fixture.room.enter("alice", false, NOW);
    fixture.apply(RosterEvent::Refused { connection: alice });
    let closed = Effect::Close {
        connection: alice,
        code: CloseCode::Replaced,
    };
    assert_eq!(fixture.effects, [closed]);
    assert!(fixture.room.is_empty());
}

#[test]
fn a_message_to_a_member_on_another_node_is_sent_there() {
    let (mut fixture, alice) = Fixture::with_alice_and_bob();
    let to_bob = Input::Text(r#"{"type":"offer","from":"x","roomId":"x","to":"bob"}"#);
    let outcome = fixture
        .room
        .receive(alice, to_bob, NOW, &mut fixture.effects);
    assert!(matches!(outcome, Outcome::Relayed { copies: 1, .. }));
    let mut frame = RemoteFrame {
        user: "alice".into(),
        from: alice,
        to: Some(connection(7)),
        is_extended: false,
        frame: r#"{"type":"offer","from":"alice","roomId":"lobby","to":"bob"}"#.into(),
    };
    let node: NodeId = "there".into();
    let send = |frame: &RemoteFrame| Request::Send {
        node: node.clone(),
        frame: frame.clone(),
    };
    assert_eq!(fixture.room.take_requests(), [send(&frame)]);
    let to_all = Input::Text(r#"{"type":"offer","from":"x","roomId":"x"}"#);
    fixture
        .room
        .receive(alice, to_all, NOW, &mut fixture.effects);
    frame.to = None;
    frame.frame = r#"{"type":"offer","from":"alice","roomId":"lobby"}"#.into();
    assert_eq!(fixture.room.take_requests(), [send(&frame)]);
    let to_nobody = Input::Text(r#"{"type":"offer","from":"x","roomId":"x","to":"carol"}"#);
    let outcome = fixture
        .room
        .receive(alice, to_nobody, NOW, &mut fixture.effects);
    assert_eq!(outcome, Outcome::Dropped(DropReason::NoSuchTarget));
}

#[test]
fn a_frame_is_delivered_if_its_sender_is_a_member() {
    let (fixture, alice) = Fixture::with_alice_and_bob();
    let mut effects = Vec::new();
    let mut sent = RemoteFrame {
        user: "bob".into(),
        from: connection(7),
        to: Some(alice),
        is_extended: false,
        frame: "{}".into(),
    };
    assert_eq!(
        fixture
            .room
            .receive_remote(&"there".into(), &sent, &mut effects),
        1
    );
    assert_eq!(
        fixture
            .room
            .receive_remote(&"elsewhere".into(), &sent, &mut effects),
        0
    );
    sent.from = connection(6);
    assert_eq!(
        fixture
            .room
            .receive_remote(&"there".into(), &sent, &mut effects),
        0
    );
    assert_eq!(effects.len(), 1);
}

#[test]
fn a_missing_event_makes_the_room_restate_its_members() {
    let (mut fixture, alice) = Fixture::with_alice_and_bob();
    fixture.apply(entered(3, "carol", "there", 8, 30));
    assert_eq!(
        (fixture.messages().len(), &*fixture.requests),
        (0, &[Request::Resync][..])
    );
    fixture.room.restate();
    let members = vec![StatedMember {
        user: "alice".into(),
        connection: alice,
        age: None,
        description: Some(plain("alice")),
    }];
    let restate = Request::Restate { number: 1, members };
    assert_eq!(fixture.room.take_requests(), [restate]);
    fixture.apply(entered(4, "dan", "there", 9, 40));
    assert_eq!(fixture.messages(), [""; 0]);
    fixture.apply(RosterEvent::Snapshot {
        seq: 4,
        number: 1,
        roster: vec![entry("alice", "here", 1, 20), entry("dan", "there", 9, 40)],
    });
    assert_eq!(
        fixture.messages(),
        ["user-left bob to 1", "user-joined dan to 1"]
    );
}

#[test]
fn members_of_a_lost_roster_stay_until_their_node_restates_them() {
    let mut fixture = Fixture::with_bob_unconfirmed();
    assert_eq!(fixture.messages(), [""; 0]);
    fixture.apply(RosterEvent::Restated {
        seq: 91,
        node: "there".into(),
        members: vec![entry("bob", "there", 7, 10)],
        ended: Vec::new(),
    });
    assert_eq!(fixture.messages(), [""; 0]);
    fixture.effects.clear();
    assert!(
        fixture
            .room
            .forget_unconfirmed(&mut fixture.effects)
            .is_empty()
    );
    fixture.room.roster_lost();
    assert_eq!(
        fixture.room.forget_unconfirmed(&mut fixture.effects),
        [NodeId::from("there")]
    );
    assert_eq!(fixture.messages(), ["user-left bob to 1"]);
}

#[test]
fn a_member_of_a_lost_roster_leaves_when_its_node_restates_others_alone() {
    let mut fixture = Fixture::with_bob_unconfirmed();
    fixture.apply(RosterEvent::Restated {
        seq: 91,
        node: "there".into(),
        members: vec![entry("carol", "there", 8, 30)],
        ended: Vec::new(),
    });
    assert_eq!(
        fixture.messages(),
        ["user-left bob to 1", "user-joined carol to 1"]
    );
}

#[test]
fn a_member_of_a_lost_roster_leaves_when_its_node_has_restated_all_rooms() {
    let mut fixture = Fixture::with_bob_unconfirmed();
    for (node, expected) in [("far", &[][..]), ("there", &["user-left bob to 1"])] {
        let is_restated = |one: &NodeId| **one == *node;
        fixture
            .room
            .nodes_restated(is_restated, &mut fixture.effects);
        assert_eq!(fixture.messages(), expected);
    }
}

#[test]
fn a_connection_that_a_snapshot_lacks_is_ended_when_it_is_restated() {
    let (mut fixture, _) = Fixture::with_alice_and_bob();
    fixture.room.events_lost();
    fixture.room.restate();
    fixture.apply(RosterEvent::Snapshot {
        seq: 5,
        number: 1,
        roster: vec![entry("alice", "here", 1, 20)],
    });
    assert_eq!(fixture.messages(), ["user-left bob to 1"]);
    fixture.apply(RosterEvent::Restated {
        seq: 6,
        node: "there".into(),
        members: vec![entry("bob", "there", 7, 10)],
        ended: Vec::new(),
    });
    let end = end("there", 7, 10);
    assert_eq!(
        (fixture.messages().len(), &*fixture.requests),
        (0, &[end][..])
    );
}

#[test]
fn the_members_of_an_evicted_node_enter_anew() {
    let (mut fixture, alice) = Fixture::with_alice_and_bob();
    fixture.effects.clear();
    fixture.room.fenced("again".into(), &mut fixture.effects);
    assert_eq!(fixture.messages(), ["user-left bob to 1"]);
    fixture.room.restate();
    let requests = fixture.room.take_requests();
    assert!(
        matches!(requests[1], Request::Restate { .. }),
        "{requests:?}"
    );
    fixture.apply(RosterEvent::Snapshot {
        seq: 9,
        number: 1,
        roster: vec![
            entry("bob", "there", 7, 10),
            entry("alice", "again", alice.number(), 50),
        ],
    });
    assert_eq!(
        fixture.messages(),
        [""; 0],
        "bob is older, so bob's node notifies him"
    );
}

#[test]
fn a_replaced_connection_that_is_restated_is_ended() {
    let (mut fixture, _) = Fixture::with_alice_and_bob();
    fixture.apply(entered(2, "bob", "far", 8, 30));
    fixture.apply(RosterEvent::Left {
        seq: 3,
        user: "bob".into(),
        node: "far".into(),
        connection: connection(8),
        reason: Departure::Left,
    });
    fixture.apply(RosterEvent::Restated {
        seq: 4,
        node: "there".into(),
        members: vec![entry("bob", "there", 7, 10)],
        ended: Vec::new(),
    });
    let end = end("there", 7, 10);
    assert_eq!(
        (fixture.messages().len(), &*fixture.requests),
        (0, &[end][..])
    );
}

#[test]
fn after_a_lost_roster_the_newer_connection_stays_in_any_order_of_restating() {
    let (mut fixture, _) = Fixture::with_alice_and_bob();
    fixture.apply(entered(2, "bob", "far", 8, 30));
    fixture.room.roster_lost();
    fixture.room.restate();
    let snapshot = RosterEvent::Snapshot {
        seq: 50,
        number: 1,
        roster: vec![entry("alice", "here", 1, 20)],
    };
    fixture.apply(snapshot);
    let restated = |seq, node: &str, number, age| RosterEvent::Restated {
        seq,
        node: node.into(),
        members: vec![entry("bob", node, number, age)],
        ended: Vec::new(),
    };
    // An older connection, which had been replaced by one that this node did not see.
    fixture.apply(restated(51, "third", 5, 25));
    let end = end("third", 5, 25);
    assert_eq!(fixture.requests, [end]);
    assert_eq!(fixture.messages(), [""; 0]);
    fixture.apply(restated(52, "far", 8, 30));
    assert_eq!(fixture.messages(), [""; 0]);
    assert_eq!(fixture.requests, []);
    let members: Vec<_> = fixture
        .room
        .remote_members()
        .map(|(_, place)| place.clone())
        .collect();
    assert_eq!(members, [place("far", 8, 30)]);
}

#[test]
fn a_connection_that_leaves_before_it_is_listed_leaves_the_roster() {
    let mut fixture = Fixture::new();
    let alice = fixture.room.enter("alice", false, NOW);
    fixture.room.leave(alice, &mut fixture.effects);
    let leave = Request::Leave {
        user: "alice".into(),
        connection: alice,
        reason: Departure::Lost,
    };
    assert_eq!(fixture.room.take_requests()[1], leave);
    let mut effects = Vec::new();
    let bob = fixture.room.enter("bob", false, NOW);
    fixture.room.take_requests();
    assert!(
        fixture
            .room
            .close_user("bob", CloseCode::Removed, &mut effects)
    );
    let leave = Request::Leave {
        user: "bob".into(),
        connection: bob,
        reason: Departure::Lost,
    };
    assert_eq!(
        (effects.len(), fixture.room.take_requests()),
        (1, vec![leave])
    );
    assert!(fixture.room.is_empty());
}
