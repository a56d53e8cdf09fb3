//! The users of a room as a client sees them, and the rules for the messages that it receives.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

/// The last that a client learned of another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// From `user-joined`.
    Joined,
    /// From a message, without `user-joined` since the last `user-left`: the user is older than this connection, or
    /// their node was away and has entered them again.
    Heard,
    /// From `user-left`.
    Left,
}

/// The faults of nodes while clients watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeFaults {
    /// Nothing that takes a node from the others.
    None,
    /// A node may be away for longer than its lease. It lets the users of others leave and reads the roster again, and
    /// may learn later that some of its older users were away as well. So a client may receive `user-left` twice, and
    /// messages of a user who has left.
    Any,
}

/// The knowledge of one connection.
#[derive(Debug, Default)]
pub(crate) struct RoomView {
    seen: HashMap<String, Seen>,
    /// The number of the last message of each sender.
    last: HashMap<String, u64>,
}

impl RoomView {
    pub(crate) fn seen(&self, user: &str) -> Option<Seen> {
        self.seen.get(user).copied()
    }

    /// The number of the last message of a user.
    pub(crate) fn last(&self, user: &str) -> Option<u64> {
        self.last.get(user).copied()
    }

    /// The users who are there.
    pub(crate) fn present(&self) -> BTreeSet<String> {
        let there = self.seen.iter().filter(|(_, seen)| **seen != Seen::Left);
        there.map(|(user, _)| user.clone()).collect()
    }

    /// Records a message to `user` in `room`, and returns the rule that it breaks.
    pub(crate) fn record(
        &mut self,
        message: &Value,
        (user, room): (&str, &str),
        faults: NodeFaults,
    ) -> Option<&'static str> {
        let from = text(message, "from");
        if message["roomId"] != room || from == user {
            return Some("a message of another room, or their own");
        }
        if message.get("to").is_some_and(|to| to != user) {
            return Some("a message for another user");
        }
        let order = message["data"]["number"].as_u64().and_then(|number| {
            let last = self.last.insert(from.to_owned(), number);
            let is_repeated = last.is_some_and(|last| number <= last);
            is_repeated.then_some("twice, or out of order")
        });
        self.record_presence(text(message, "type"), from, faults)
            .or(order)
    }

    fn record_presence(
        &mut self,
        kind: &str,
        from: &str,
        faults: NodeFaults,
    ) -> Option<&'static str> {
        let known = self.seen(from);
        let is_strict = faults == NodeFaults::None;
        let is_heard = is_strict && known == Some(Seen::Heard);
        let (next, broken) = match (kind, known) {
            ("user-joined", Some(Seen::Joined)) => (Some(Seen::Joined), Some("joined twice")),
            ("user-joined", _) if is_heard => (Some(Seen::Joined), Some("joined twice")),
            ("user-joined", _) => (Some(Seen::Joined), None),
            ("user-left", Some(Seen::Left)) if is_strict => (known, Some("left twice")),
            ("user-left", _) => (Some(Seen::Left), None),
            ("offer", Some(Seen::Joined | Seen::Heard)) if is_strict => {
                (known, Some("an offer of a user who is known"))
            }
            ("offer", Some(Seen::Joined)) => (known, None),
            ("offer", _) => (Some(Seen::Heard), None),
            // A newcomer does not know yet who is there, and receives their messages.
            ("ice-candidate", Some(Seen::Left)) if is_strict => {
                (known, Some("a message of a user who has left"))
            }
            ("ice-candidate", _) => (known, None),
            (other, _) => panic!("{other}"),
        };
        if let Some(next) = next {
            self.seen.insert(from.to_owned(), next);
        }
        broken
    }
}

/// A message to one user of the room, or to all.
pub(crate) fn message(
    kind: &str,
    (user, room): (&str, &str),
    to: Option<&str>,
    data: Value,
) -> Value {
    let mut message = json!({"type": kind, "from": user, "roomId": room, "data": data});
    if let Some(to) = to {
        message["to"] = to.into();
    }
    message
}

/// Returns the text of a field.
pub(crate) fn text<'a>(message: &'a Value, key: &str) -> &'a str {
    let field = message[key].as_str();
    field.unwrap_or_else(|| panic!("no {key} in {message}"))
}
