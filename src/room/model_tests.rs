//! Compares the state machine with a simple model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ConnectionId, Effect, Input, Join, Limits, Outcome, Room};
use crate::clock::Mono;

const USERS: [&str; 4] = ["alice", "bob", "carol", "d\"ave\\"];
const ROOMS: [&str; 2] = ["lobby", "attic"];

#[derive(Debug, Clone)]
enum Step {
    Join {
        room: usize,
        user: usize,
    },
    /// The n-th connection ever made ends.
    Leave(usize),
    /// The n-th connection ever made sends a numbered message.
    Send {
        sender: usize,
        to: Option<usize>,
        claims: usize,
    },
    Remove {
        room: usize,
        user: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (room, user, nth) = (0..ROOMS.len(), 0..USERS.len(), 0..20usize);
    let step = prop_oneof![
        3 => (room.clone(), user.clone()).prop_map(|(room, user)| Step::Join { room, user }),
        1 => nth.clone().prop_map(Step::Leave),
        5 => (nth, proptest::option::of(user.clone()), user.clone())
            .prop_map(|(sender, to, claims)| Step::Send { sender, to, claims }),
        1 => (room, user).prop_map(|(room, user)| Step::Remove { room, user }),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The connection of each user in each room, and what each connection should have read.
#[derive(Default)]
struct Model {
    connected: BTreeMap<(usize, usize), usize>,
    inbox: BTreeMap<usize, Vec<Value>>,
}

impl Model {
    fn tell_others(&mut self, room: usize, user: usize, message: &Value) {
        let others = self
            .connected
            .iter()
            .filter(|((r, u), _)| *r == room && *u != user);
        let others: Vec<usize> = others.map(|(_, nth)| *nth).collect();
        for other in others {
            self.inbox.entry(other).or_default().push(message.clone());
        }
    }

    fn leave(&mut self, room: usize, user: usize) {
        if self.connected.remove(&(room, user)).is_some() {
            self.tell_others(room, user, &presence("user-left", room, user));
        }
    }

    fn join(&mut self, room: usize, user: usize, nth: usize) {
        self.leave(room, user);
        self.tell_others(room, user, &presence("user-joined", room, user));
        self.connected.insert((room, user), nth);
    }

    /// The room and user of the n-th connection, if it is still connected.
    fn connected_as(&self, nth: usize) -> Option<(usize, usize)> {
        let pair = self
            .connected
            .iter()
            .find(|(_, connected)| **connected == nth);
        pair.map(|(pair, _)| *pair)
    }
}

fn presence(kind: &str, room: usize, user: usize) -> Value {
    json!({"type": kind, "data": {"userId": USERS[user]}, "from": USERS[user], "roomId": ROOMS[room]})
}

/// The machine under test: two rooms, and what they delivered.
struct Rooms {
    rooms: Vec<Room>,
    connections: Vec<(usize, ConnectionId)>,
    inbox: BTreeMap<usize, Vec<Value>>,
    /// Far enough apart that replacements are never too many.
    now: Mono,
}

impl Rooms {
    fn take(&mut self, room: usize, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Deliver {
                connection, frame, ..
            } = effect
            {
                let nth = self
                    .connections
                    .iter()
                    .position(|c| *c == (room, connection));
                let message = serde_json::from_slice(&frame).expect("JSON");
                let nth = nth.expect("only known connections receive frames");
                self.inbox.entry(nth).or_default().push(message);
            }
        }
    }
}

fn run(steps: Vec<Step>) -> (Rooms, Model) {
    let mut model = Model::default();
    let mut machine = Rooms {
        rooms: ROOMS
            .iter()
            .map(|id| Room::new(id, Limits::UNLIMITED))
            .collect(),
        connections: Vec::new(),
        inbox: BTreeMap::new(),
        now: Mono(0),
    };
    for (number, step) in steps.into_iter().enumerate() {
        machine.now = Mono(number as u64 * 60_000_000_000);
        apply(number, step, &mut machine, &mut model);
    }
    (machine, model)
}

fn apply(number: usize, step: Step, machine: &mut Rooms, model: &mut Model) {
    let (now, mut effects) = (machine.now, Vec::new());
    let room = match step {
        Step::Join { room, user } => {
            let joined = machine.rooms[room].join(USERS[user], false, now, &mut effects);
            let Join::Accepted(connection) = joined else {
                panic!("nobody is refused here")
            };
            model.join(room, user, machine.connections.len());
            machine.connections.push((room, connection));
            room
        }
        Step::Leave(nth) => {
            let Some(&(room, connection)) = machine.connections.get(nth) else {
                return;
            };
            machine.rooms[room].leave(connection, &mut effects);
            if let Some((room, user)) = model.connected_as(nth) {
                model.leave(room, user);
            }
            room
        }
        Step::Remove { room, user } => {
            let was = machine.rooms[room].close_user(
                USERS[user],
                super::CloseCode::Removed,
                &mut effects,
            );
            assert_eq!(was, model.connected.contains_key(&(room, user)));
            model.leave(room, user);
            room
        }
        Step::Send { sender, to, claims } => {
            let Some(&(room, connection)) = machine.connections.get(sender) else {
                return;
            };
            let mut message =
                json!({"type": "offer", "from": USERS[claims], "roomId": "elsewhere", "n": number});
            if let Some(to) = to {
                message["to"] = USERS[to].into();
            }
            let text = message.to_string();
            let outcome =
                machine.rooms[room].receive(connection, Input::Text(&text), now, &mut effects);
            expect_sent(sender, to, message, outcome, model);
            room
        }
    };
    machine.take(room, effects);
}

fn expect_sent(
    sender: usize,
    to: Option<usize>,
    mut message: Value,
    outcome: Outcome,
    model: &mut Model,
) {
    let Some((room, user)) = model.connected_as(sender) else {
        return assert_eq!(outcome, Outcome::Gone);
    };
    message["from"] = USERS[user].into();
    message["roomId"] = ROOMS[room].into();
    match to {
        None => model.tell_others(room, user, &message),
        Some(to) => {
            if let Some(nth) = model.connected.get(&(room, to)) {
                model.inbox.entry(*nth).or_default().push(message);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No message crosses rooms, none bears a false sender, each sender's arrive in order, and
    /// every coming and going is announced once: all of that is equality with the model.
    #[test]
    fn each_connection_receives_the_frames_of_the_model(steps in steps()) {
        let (machine, model) = run(steps);
        prop_assert_eq!(&machine.inbox, &model.inbox);
        for (index, room) in machine.rooms.iter().enumerate() {
            let mut users: Vec<&str> = room.users().map(|user| &**user).collect();
            users.sort_unstable();
            let connected = model.connected.keys().filter(|(room, _)| *room == index);
            let mut expected: Vec<&str> = connected.map(|(_, user)| USERS[*user]).collect();
            expected.sort_unstable();
            prop_assert_eq!(users, expected);
        }
    }

    /// Other content of a message arrives unchanged, and no text makes the machine panic.
    #[test]
    fn only_the_claims_of_a_message_change(
        fields in proptest::collection::vec(("[a-z]{1,6}", any_json()), 0..6),
        blanks in proptest::collection::vec("[ \t\r\n]{0,2}", 12),
        from in any_json(),
        at in 0..6usize,
    ) {
        let mut parts: Vec<(String, String)> = fields
            .into_iter()
            .filter(|(key, _)| !["type", "from", "to", "data"].contains(&key.as_str()))
            .collect();
        let claims = [("type", "\"answer\"".to_owned()), ("from", from), ("roomId", "0".to_owned())];
        for (key, value) in claims {
            parts.insert(at.min(parts.len()), (key.to_owned(), value));
        }
        let write = |parts: &[(String, String)]| {
            let mut blank = blanks.iter().cycle();
            let mut next = || blank.next().cloned().unwrap_or_default();
            let fields: Vec<String> = parts
                .iter()
                .map(|(key, value)| format!("{}\"{key}\"{}:{value}{}", next(), next(), next()))
                .collect();
            format!("{{{}}}", fields.join(","))
        };
        let sent = write(&parts);
        for (key, value) in &mut parts {
            match key.as_str() {
                "from" => *value = "\"alice\"".to_owned(),
                "roomId" => *value = "\"lobby\"".to_owned(),
                _ => {}
            }
        }
        prop_assert_eq!(relayed(&sent), Some(write(&parts)));
    }

    #[test]
    fn no_text_is_a_surprise(text in ".{0,60}") {
        prop_assert_eq!(relayed(&text), None);
    }
}

/// The frame that bob receives when alice sends this.
fn relayed(text: &str) -> Option<String> {
    let mut room = Room::new("lobby", Limits::UNLIMITED);
    let mut effects = Vec::new();
    let Join::Accepted(alice) = room.join("alice", false, Mono(0), &mut effects) else {
        return None;
    };
    room.join("bob", false, Mono(0), &mut effects);
    effects.clear();
    room.receive(alice, Input::Text(text), Mono(0), &mut effects);
    match effects.pop()? {
        Effect::Deliver { frame, .. } => String::from_utf8(frame.to_vec()).ok(),
        Effect::Close { .. } | Effect::Welcome { .. } => None,
    }
}

/// JSON as text, in spellings that a parse and a print would not keep.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
        "\"([a-z \u{e9}\u{1F600}]|\\\\u[0-9a-fA-F]{4}|\\\\/|\\\\n){0,8}\"",
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[ {} ]", items.join(" ,"))),
            proptest::collection::vec(("[a-z]{1,3}", inner), 0..4).prop_map(|fields| {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(k, v)| format!("\"{k}\": {v}"))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}
