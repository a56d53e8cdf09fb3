//! One room and the messages of its connections, compared with `serde_json`.

use std::collections::BTreeMap;
use std::time::Duration;

use parlor::clock::Mono;
use parlor::rate::Limit;
use parlor::room::{
    CloseCode, ConnectionId, DropReason, Effect, Input as Sent, Join, Kind, Limits, Outcome, Room,
};
use serde_json::Value;

use crate::input::Input;

const ROOM: &str = "lo\"bby";
/// Names that JSON must escape, and a name that is the prefix of another.
const USERS: [&str; 5] = ["alice", "bob", "bo", "\u{e9}\"\\\u{1f600}", "\u{7f}\n"];

struct Fixture {
    room: Room,
    /// The connections in the model.
    connected: BTreeMap<ConnectionId, &'static str>,
    /// Ended connections.
    gone: Vec<ConnectionId>,
    now: Mono,
}

pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let limits = Limits {
        messages: Limit::per_second(100, 1000),
        bytes: Limit::per_second(128 * 1024, 768 * 1024),
    };
    let mut fixture = Fixture {
        room: Room::new(ROOM, limits),
        connected: BTreeMap::new(),
        gone: Vec::new(),
        now: Mono(0),
    };
    // Two participants, so that the first text has a recipient.
    fixture.join(USERS[0]);
    fixture.join(USERS[1]);
    while fixture.step(&mut input).is_some() {
        let mut here: Vec<&str> = fixture.room.users().map(|user| &**user).collect();
        here.sort_unstable();
        let mut expected: Vec<&str> = fixture.connected.values().copied().collect();
        expected.sort_unstable();
        assert_eq!(here, expected);
        assert_eq!(fixture.room.is_empty(), expected.is_empty());
    }
}

impl Fixture {
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let mut effects = Vec::new();
        match input.byte()? % 8 {
            0..=3 => {
                let sender = self.connection(input)?;
                let text = String::from_utf8_lossy(input.many()?).into_owned();
                self.text(sender, &text);
            }
            4 => self.join(input.one_of(&USERS)?),
            5 => {
                let leaver = self.connection(input)?;
                self.room.leave(leaver, &mut effects);
                let user = self.forget(leaver);
                self.announced(&effects, user, "user-left");
            }
            6 => {
                let sender = self.connection(input)?;
                let sent = *input.one_of(&[Sent::Binary, Sent::Control])?;
                let outcome = self.room.receive(sender, sent, self.now, &mut effects);
                match outcome {
                    Outcome::Closed(code) => self.closed(sender, code, &effects),
                    _ => assert_eq!(effects, []),
                }
            }
            _ => self.rare(input)?,
        }
        Some(())
    }

    /// Lets time pass, and executes administrator's commands.
    fn rare(&mut self, input: &mut Input<'_>) -> Option<()> {
        let mut effects = Vec::new();
        match input.byte()? {
            0 => {
                self.room.close_all(CloseCode::RoomClosed, &mut effects);
                assert_eq!(effects.len(), self.connected.len());
                self.gone
                    .extend(std::mem::take(&mut self.connected).into_keys());
            }
            byte @ 1..=16 => {
                let user = USERS[usize::from(byte) % USERS.len()];
                let closed = self.room.close_user(user, CloseCode::Removed, &mut effects);
                let theirs = self
                    .connected
                    .iter()
                    .find(|(_, connected)| **connected == user);
                let theirs = theirs.map(|(connection, _)| *connection);
                assert_eq!(closed, theirs.is_some());
                if let Some(connection) = theirs {
                    self.closed(connection, CloseCode::Removed, &effects);
                }
            }
            byte => self.now = self.now + Duration::from_millis(u64::from(byte) * 100),
        }
        Some(())
    }

    fn join(&mut self, user: &'static str) {
        let mut effects = Vec::new();
        let before = self
            .connected
            .iter()
            .find(|(_, connected)| **connected == user);
        let before = before.map(|(connection, _)| *connection);
        match self.room.join(user, false, self.now, &mut effects) {
            Join::Accepted(connection) => {
                if let Some(before) = before {
                    let close_code = Effect::Close {
                        connection: before,
                        code: CloseCode::Replaced,
                    };
                    assert_eq!(effects.remove(0), close_code);
                    self.forget(before);
                    let others = self.connected.len();
                    self.announced(&effects[..others], Some(user), "user-left");
                    effects.drain(..others);
                }
                self.announced(&effects, Some(user), "user-joined");
                assert!(self.connected.insert(connection, user).is_none());
                assert!(
                    !self.gone.contains(&connection),
                    "a number is never used twice"
                );
            }
            Join::Rejected(_) => assert!(before.is_some() && effects.is_empty()),
        }
    }

    /// Returns a connection of the room, or an ended one.
    fn connection(&self, input: &mut Input<'_>) -> Option<ConnectionId> {
        let known: Vec<_> = self.connected.keys().chain(&self.gone).copied().collect();
        input.one_of(&known).copied()
    }

    fn forget(&mut self, connection: ConnectionId) -> Option<&'static str> {
        let user = self.connected.remove(&connection)?;
        self.gone.push(connection);
        Some(user)
    }

    fn closed(&mut self, connection: ConnectionId, code: CloseCode, effects: &[Effect]) {
        assert_eq!(effects[0], Effect::Close { connection, code });
        let user = self.forget(connection);
        self.announced(&effects[1..], user, "user-left");
    }

    /// Checks that every connection got one event about `user`.
    fn announced(&self, effects: &[Effect], user: Option<&str>, what: &str) {
        let Some(user) = user else {
            return assert_eq!(effects, []);
        };
        let mut recipients = Vec::new();
        for (connection, frame) in effects.iter().map(delivered) {
            assert_eq!(frame["type"], what);
            assert_eq!(frame["data"]["userId"], user);
            assert_eq!(
                (&frame["from"], &frame["roomId"]),
                (&user.into(), &ROOM.into())
            );
            recipients.push(connection);
        }
        recipients.sort_unstable();
        assert!(
            recipients.iter().eq(self.connected.keys()),
            "everybody, once"
        );
    }

    fn text(&mut self, sender: ConnectionId, text: &str) {
        let mut effects = Vec::new();
        let outcome = self
            .room
            .receive(sender, Sent::Text(text), self.now, &mut effects);
        match outcome {
            Outcome::Gone => assert!(!self.connected.contains_key(&sender) && effects.is_empty()),
            Outcome::Closed(code) => self.closed(sender, code, &effects),
            Outcome::Relayed { kind, copies } => {
                assert_eq!(effects.len(), copies);
                self.relayed(sender, text, kind, &effects);
            }
            Outcome::Dropped(reason) => {
                assert_eq!(effects, []);
                judged(text, reason);
            }
            Outcome::Control => panic!("a text is no control frame"),
            Outcome::Handled
            | Outcome::Acknowledged(_)
            | Outcome::Repeated
            | Outcome::Requested => {
                panic!("a plain client sends no such frame")
            }
        }
    }

    /// Checks that each copy has the sender and the room, and is otherwise unchanged.
    fn relayed(&self, sender: ConnectionId, text: &str, kind: Kind, effects: &[Effect]) {
        let user = self.connected[&sender];
        // serde_json rejects deep nesting and lone surrogates: there is nothing to compare with.
        let Ok(Value::Object(mut sent)) = serde_json::from_str(text) else {
            return;
        };
        assert_eq!(sent["type"], kind.label());
        sent.insert("from".into(), user.into());
        sent.insert("roomId".into(), ROOM.into());
        if kind == Kind::UserJoined {
            let data = sent.entry("data").or_insert(Value::Null);
            match data.as_object_mut() {
                Some(data) => _ = data.insert("userId".into(), user.into()),
                None => *data = serde_json::json!({ "userId": user }),
            }
        }
        let mut recipients = Vec::new();
        for effect in effects {
            let Effect::Deliver {
                connection, frame, ..
            } = effect
            else {
                panic!("a text closes nobody");
            };
            let got: Value = serde_json::from_slice(frame).expect("what is delivered is JSON");
            assert_eq!(got.as_object(), Some(&sent));
            recipients.push(*connection);
        }
        recipients.sort_unstable();
        match sent
            .get("to")
            .and_then(Value::as_str)
            .filter(|to| !to.is_empty())
        {
            Some(to) => assert_eq!(
                recipients
                    .iter()
                    .map(|c| self.connected[c])
                    .collect::<Vec<_>>(),
                [to]
            ),
            None => {
                let others = self.connected.keys().filter(|other| **other != sender);
                assert!(recipients.iter().eq(others), "everybody else, once");
            }
        }
    }
}

fn delivered(effect: &Effect) -> (ConnectionId, Value) {
    let Effect::Deliver {
        connection, frame, ..
    } = effect
    else {
        panic!("not a delivery: {effect:?}");
    };
    let frame = serde_json::from_slice(frame).expect("what is delivered is JSON");
    (*connection, frame)
}

/// Checks the reason for which a text was dropped.
fn judged(text: &str, reason: DropReason) {
    let parsed: Result<Value, _> = serde_json::from_str(text);
    match (parsed, reason) {
        (Ok(Value::Object(object)), DropReason::Missing) => {
            let claims = ["type", "from", "roomId"];
            assert!(claims.iter().any(|claim| !object.contains_key(*claim)));
        }
        (Ok(Value::Object(object)), DropReason::UnknownType) => {
            let known = Kind::ALL.iter().any(|kind| object["type"] == kind.label());
            assert!(!known);
        }
        (Ok(Value::Object(object)), DropReason::BadTarget) => {
            assert!(!object["to"].is_string() && !object["to"].is_null());
        }
        (Ok(Value::Object(object)), DropReason::NoSuchTarget) => assert!(object["to"].is_string()),
        // serde_json accepts a duplicate `type` or `to`.
        (Ok(Value::Object(_)), DropReason::NotJson) => {}
        (Ok(Value::Object(_)), other) => panic!("{other:?} for {text}"),
        (Ok(_), reason) => assert_eq!(reason, DropReason::NotAnObject, "{text}"),
        (Err(_), _) => {}
    }
}
