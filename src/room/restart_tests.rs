//! A room after a restart: resumed connections are not announced to each other, and the messages to
//! each connection add up to the users in the room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::{CloseCode, ConnectionId, Effect, Entrant, Join, Limits, Room};
use crate::clock::Mono;

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const UNTIL: u64 = 10;

/// A room, and the other users that each connection knows of.
struct World {
    room: Room,
    now: u64,
    connections: BTreeMap<usize, ConnectionId>,
    beliefs: BTreeMap<ConnectionId, (usize, BTreeSet<String>)>,
    /// Resumed connections, which know of users from the beginning.
    resumed: BTreeSet<ConnectionId>,
    notified: usize,
}

impl World {
    fn new(before: &BTreeSet<usize>) -> World {
        let mut room = Room::new("lobby", Limits::UNLIMITED);
        room.expect_return(
            before.iter().map(|user| Arc::from(USERS[*user])),
            Mono(UNTIL),
        );
        World {
            room,
            now: 0,
            connections: BTreeMap::new(),
            beliefs: BTreeMap::new(),
            resumed: BTreeSet::new(),
            notified: 0,
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let Effect::Deliver {
                connection, frame, ..
            } = effect
            else {
                continue;
            };
            self.notified += 1;
            let frame: Value = serde_json::from_slice(&frame).unwrap();
            let user = frame["data"]["userId"].as_str().unwrap().to_owned();
            let (_, belief) = self.beliefs.get_mut(&connection).expect("a connection");
            match frame["type"].as_str() {
                Some("user-joined") => belief.insert(user),
                _ => belief.remove(&user),
            };
        }
    }

    /// Joins; a resumed connection begins with `before`.
    fn join(&mut self, user: usize, resume: bool, awaited: bool, before: &BTreeSet<usize>) {
        let mut effects = Vec::new();
        let joined = self
            .room
            .join(USERS[user], resume, Mono(self.now), &mut effects);
        let Join::Accepted(connection) = joined else {
            return;
        };
        let mut belief = BTreeSet::new();
        if resume && awaited {
            self.resumed.insert(connection);
            let others = before.iter().filter(|other| **other != user);
            belief.extend(others.map(|other| USERS[*other].to_owned()));
            // Connections that joined meanwhile are notified, and call.
            belief.extend(
                self.connections
                    .keys()
                    .map(|other| USERS[*other].to_owned()),
            );
        }
        self.beliefs.insert(connection, (user, belief));
        self.take(effects);
        self.connections.insert(user, connection);
    }

    fn leave(&mut self, user: usize) {
        let Some(connection) = self.connections.remove(&user) else {
            return;
        };
        let mut effects = Vec::new();
        self.room.leave(connection, &mut effects);
        self.take(effects);
    }

    fn check(&self) {
        let users = |me: &str| -> BTreeSet<String> {
            let users = self.room.users().filter(|user| ***user != *me);
            users.map(ToString::to_string).collect()
        };
        for connection in self
            .connections
            .values()
            .filter(|one| self.resumed.contains(one))
        {
            let (user, belief) = &self.beliefs[connection];
            assert_eq!(*belief, users(USERS[*user]), "{} resumes", USERS[*user]);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join { user: usize, resume: bool },
    Leave { user: usize },
    Remove { user: usize },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let user = || 0..USERS.len();
    prop_oneof![
        6 => (user(), prop::bool::weighted(0.7)).prop_map(|(user, resume)| Step::Join { user, resume }),
        2 => user().prop_map(|user| Step::Leave { user }),
        1 => user().prop_map(|user| Step::Remove { user }),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_resumed_connection_always_knows_the_users_in_the_room(
        before in prop::collection::btree_set(0..USERS.len(), 0..=USERS.len()),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new(&before);
        let mut awaited = before.clone();
        for step in steps {
            match step {
                // Nobody replaces themselves here: that is what the other model is about.
                Step::Join { user, .. } if world.connections.contains_key(&user) => {}
                Step::Join { user, resume } => {
                    let expected = world.now < UNTIL && awaited.remove(&user);
                    world.join(user, resume, expected, &before);
                }
                Step::Leave { user } => world.leave(user),
                Step::Remove { user } => {
                    let mut effects = Vec::new();
                    let was = world.room.close_user(USERS[user], CloseCode::Removed, &mut effects);
                    prop_assert_eq!(was, world.connections.remove(&user).is_some());
                    world.take(effects);
                    awaited.remove(&user);
                }
                Step::Wait => {
                    world.now += 3;
                    let mut effects = Vec::new();
                    world.room.expire(Mono(world.now), &mut effects);
                    world.take(effects);
                }
            }
            world.check();
        }
        world.now = UNTIL;
        let mut effects = Vec::new();
        world.room.expire(Mono(UNTIL), &mut effects);
        world.take(effects);
        world.check();
        prop_assert_eq!(world.room.is_empty(), world.connections.is_empty());
    }
}

fn of_three() -> (World, BTreeSet<usize>) {
    let before: BTreeSet<usize> = [0, 1, 2].into();
    (World::new(&before), before)
}

#[test]
fn resumed_connections_receive_nothing_if_all_resume() {
    let (mut world, before) = of_three();
    for user in [2, 0, 1] {
        world.join(user, true, true, &before);
        world.check();
    }
    let mut effects = Vec::new();
    world.room.expire(Mono(UNTIL), &mut effects);
    assert_eq!((world.notified, effects.len()), (0, 0));
}

#[test]
fn a_parlor_v1_connection_that_resumes_is_reported_to_others_of_that_protocol_alone() {
    let before: BTreeSet<usize> = [0, 1, 2, 3].into();
    let mut world = World::new(&before);
    world.join(0, true, true, &before);
    world.join(1, true, true, &before);
    world.leave(1);
    let mut effects = Vec::new();
    let mut resume = |user: usize, effects: &mut Vec<Effect>| {
        let entrant = Entrant {
            user: USERS[user],
            profile: None,
            is_extended: true,
            resume: true,
        };
        match world.room.join_as(entrant, Mono(1), effects) {
            Join::Accepted(connection) => connection,
            Join::Rejected(code) => panic!("{code:?}"),
        }
    };
    let carol = resume(2, &mut effects);
    // Its welcome says who is here.
    assert!(effects.is_empty(), "{effects:?}");
    resume(3, &mut effects);
    let [
        Effect::Deliver {
            connection, frame, ..
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    let frame: Value = serde_json::from_slice(frame).unwrap();
    assert_eq!(
        (*connection, &frame["type"]),
        (carol, &"participant-updated".into())
    );
}

#[test]
fn a_new_connection_is_announced_to_resumed_ones_as_left_and_joined() {
    let (mut world, before) = of_three();
    world.join(0, true, true, &before);
    let mut effects = Vec::new();
    let _ = world.room.join(USERS[1], false, Mono(1), &mut effects);
    let kinds: Vec<_> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Deliver { frame, .. } => {
                serde_json::from_slice::<Value>(frame).unwrap()["type"].clone()
            }
            other => panic!("{other:?} is no frame"),
        })
        .collect();
    assert_eq!(kinds, ["user-left", "user-joined"]);
}

#[test]
fn a_resumed_connection_is_announced_to_new_ones() {
    let (mut world, before) = of_three();
    world.join(0, false, true, &before);
    assert_eq!(world.notified, 0);
    world.join(1, true, true, &before);
    assert_eq!(world.notified, 1);
}

#[test]
fn a_user_who_does_not_return_in_time_has_left() {
    let (mut world, before) = of_three();
    world.join(0, true, true, &before);
    world.join(1, true, true, &before);
    assert_eq!(world.room.users().count(), 3);
    let mut effects = Vec::new();
    world.room.expire(Mono(UNTIL - 1), &mut effects);
    assert_eq!(effects.len(), 0);
    world.room.expire(Mono(UNTIL), &mut effects);
    assert_eq!(effects.len(), 2, "both are notified of the third");
    assert_eq!(world.room.users().count(), 2);
}
