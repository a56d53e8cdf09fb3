//! Joins and leaves against a model: sets of members, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const USERS: [&str; 4] = ["ann", "ben", "cem", "dov"];
/// Room ids, and how many each holds.
const ROOMS: [(&str, Option<u32>); 3] = [("one", Some(1)), ("two", Some(2)), ("all", None)];

#[derive(Debug, Clone)]
enum Step {
    Join { room: usize, user: usize },
    Leave { room: usize, user: usize },
}

fn step() -> impl Strategy<Value = Step> {
    (any::<bool>(), 0..ROOMS.len(), 0..USERS.len()).prop_map(|(joins, room, user)| {
        if joins {
            Step::Join { room, user }
        } else {
            Step::Leave { room, user }
        }
    })
}

#[derive(Default)]
struct Model {
    members: BTreeMap<usize, BTreeSet<usize>>,
    /// Room and user.
    ever: BTreeSet<(usize, usize)>,
    /// The number of memberships that have ended, by room and user.
    generations: BTreeMap<(usize, usize), u64>,
}

impl Model {
    fn room(&mut self, room: usize) -> &mut BTreeSet<usize> {
        self.members.entry(room).or_default()
    }

    /// Whether the user is in afterwards.
    fn join(&mut self, room: usize, user: usize) -> bool {
        let capacity = ROOMS[room]
            .1
            .map_or(usize::MAX, |capacity| capacity as usize);
        let members = self.room(room);
        if members.len() < capacity {
            members.insert(user);
        }
        let joined = members.contains(&user);
        if joined {
            self.ever.insert((room, user));
        }
        joined
    }

    fn leave(&mut self, room: usize, user: usize) -> LeaveOutcome {
        let was_member = self.room(room).remove(&user);
        let next_generation = self.generations.entry((room, user)).or_default();
        *next_generation += u64::from(was_member);
        let next_generation = *next_generation;
        LeaveOutcome {
            was_member,
            ever_member: self.ever.contains(&(room, user)),
            elsewhere: self.members.values().any(|members| members.contains(&user)),
            next_generation,
        }
    }

    fn names(&mut self, room: usize) -> BTreeSet<String> {
        let members = self.room(room).iter();
        members.map(|user| USERS[*user].to_owned()).collect()
    }
}

async fn play(fixture: Fixture, steps: Vec<Step>) {
    for user in USERS {
        fixture.store.provision(user, None).await.unwrap();
    }
    for (room, capacity) in ROOMS {
        fixture.room(room, false, capacity).await;
    }
    let mut model = Model::default();
    for step in &steps {
        match *step {
            Step::Join { room, user } => {
                let joined = fixture.join(ROOMS[room].0, USERS[user]).await;
                let expected = model.join(room, user);
                assert_eq!(joined.is_ok(), expected, "{step:?}");
                assert!(expected || joined == Err(JoinError::RoomFull), "{step:?}");
            }
            Step::Leave { room, user } => {
                let left = fixture.store.leave(ROOMS[room].0, USERS[user], NOW).await;
                assert_eq!(left, Ok(model.leave(room, user)), "{step:?}");
            }
        }
    }
    for (room, (id, _)) in ROOMS.iter().enumerate() {
        let members: BTreeSet<_> = fixture.members(id).await.into_iter().collect();
        assert_eq!(members, model.names(room), "{id}");
        for user in USERS {
            let admission = fixture.store.admission(id, user, NOW).await.unwrap();
            assert_eq!(admission.participant, members.contains(user), "{id} {user}");
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn joins_and_leaves_are_what_sets_of_members_would_do_on_sqlite(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        runtime().block_on(play(Fixture::new(), steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn joins_and_leaves_are_what_sets_of_members_would_do_on_postgres(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        runtime().block_on(async { play(Fixture::postgres().await, steps).await });
    }
}
