//! The entries of a node's inbox.

use std::sync::Arc;

use redis::Value;

use crate::room::{
    ConnectionId, Departure, Description, Entry, NodeId, Place, Return, RosterEvent,
};

/// An entry of the inbox.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InboxEntry {
    Roster {
        room: Arc<str>,
        event: RosterEvent,
    },
    /// A node has restated all its rooms.
    AllRestated {
        node: NodeId,
    },
    Messages {
        node: NodeId,
        number: u64,
        batch: Vec<u8>,
    },
    /// Bytes for the application.
    Message {
        node: NodeId,
        bytes: Vec<u8>,
    },
    /// The entry with which the inbox begins.
    Registered,
    /// An entry of a later version.
    Unknown,
}

/// Returns the ids and entries in a reply to XREAD of one stream.
pub(super) fn parse(reply: Value) -> Vec<(String, InboxEntry)> {
    let Some(Value::Array(stream)) = array(reply).into_iter().next() else {
        return Vec::new();
    };
    let entries = stream.into_iter().nth(1).map(array).unwrap_or_default();
    let parse = |entry| {
        let mut entry = array(entry).into_iter();
        let id = text(entry.next()?)?;
        let fields = entry.next().map(array).unwrap_or_default();
        Some((id, parse_fields(fields).unwrap_or(InboxEntry::Unknown)))
    };
    entries.into_iter().filter_map(parse).collect()
}

/// The fields of an entry, by their one-letter names. Unknown fields are ignored.
#[derive(Default)]
struct Fields {
    kind: String,
    room: String,
    seq: String,
    user: String,
    node: String,
    connection: String,
    age: String,
    number: String,
    lines: Option<String>,
    /// Of a user who was awaited: whether the connection resumes, users who do not know the user, and users who left.
    resumes: Option<String>,
    newcomers: String,
    left: String,
    description: String,
    reason: String,
    batch: Vec<u8>,
}

fn parse_fields(fields: Vec<Value>) -> Option<InboxEntry> {
    let mut known = Fields::default();
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let name = text(name)?;
        let field = match &*name {
            "t" => &mut known.kind,
            "r" => &mut known.room,
            "s" => &mut known.seq,
            "u" => &mut known.user,
            "n" => &mut known.node,
            "c" => &mut known.connection,
            "a" => &mut known.age,
            "k" => &mut known.number,
            "l" => known.lines.insert(String::new()),
            "f" => known.resumes.insert(String::new()),
            "x" => &mut known.newcomers,
            "d" => &mut known.left,
            "i" => &mut known.description,
            "y" => &mut known.reason,
            "b" => {
                known.batch = bytes(value)?;
                continue;
            }
            _ => continue,
        };
        *field = text(value)?;
    }
    known.entry()
}

impl Fields {
    fn entry(self) -> Option<InboxEntry> {
        let node = NodeId::from(&*self.node);
        Some(match &*self.kind {
            "registered" => InboxEntry::Registered,
            "all-restated" => InboxEntry::AllRestated { node },
            "messages" => InboxEntry::Messages {
                node,
                number: self.number.parse().ok()?,
                batch: self.batch,
            },
            "message" => InboxEntry::Message {
                node,
                bytes: self.batch,
            },
            _ => InboxEntry::Roster {
                room: Arc::from(&*self.room),
                event: self.event(node)?,
            },
        })
    }

    fn event(&self, node: NodeId) -> Option<RosterEvent> {
        let seq = || self.seq.parse().ok();
        let connection = || connection(&self.connection);
        let roster = self.lines.as_deref().map(entries);
        let reason = Departure::from_label(&self.reason).unwrap_or(Departure::Lost);
        Some(match &*self.kind {
            "entered" => RosterEvent::Entered {
                seq: seq()?,
                user: Arc::from(&*self.user),
                place: Some(Place {
                    age: self.age.parse().ok()?,
                    node,
                    connection: connection()?,
                }),
                description: description(&self.description),
                roster,
                returned: self.resumes.as_ref().map(|resumes| Return {
                    is_resumed: resumes == "1",
                    newcomers: users(&self.newcomers),
                    left: users(&self.left),
                }),
            },
            "suspended" => RosterEvent::Suspended {
                seq: seq()?,
                user: Arc::from(&*self.user),
                node,
                connection: connection()?,
                since: self.age.parse().ok()?,
            },
            "awaited-left" => RosterEvent::AwaitedLeft {
                seq: seq()?,
                user: Arc::from(&*self.user),
                newcomers: users(&self.newcomers),
                reason,
            },
            "left" => RosterEvent::Left {
                seq: seq()?,
                user: Arc::from(&*self.user),
                node,
                connection: connection()?,
                reason,
            },
            "described" => RosterEvent::Described {
                seq: seq()?,
                user: Arc::from(&*self.user),
                node,
                connection: connection()?,
                description: description(&self.description),
            },
            "gone" => RosterEvent::NodeGone { seq: seq()?, node },
            "restated" => RosterEvent::Restated {
                seq: seq()?,
                node,
                members: roster?,
                ended: Vec::new(),
            },
            "snapshot" => RosterEvent::Snapshot {
                seq: seq()?,
                number: self.number.parse().ok()?,
                roster: roster?,
            },
            "refused" => RosterEvent::Refused {
                connection: connection()?,
            },
            _ => return None,
        })
    }
}

/// Parses users between blanks.
fn users(text: &str) -> Vec<Arc<str>> {
    text.split_ascii_whitespace().map(Arc::from).collect()
}

/// Parses lines of "user node connection age", since when the user is awaited, and the description. A node of an earlier
/// version writes no description.
fn entries(lines: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let user = Arc::from(words.next()?);
        let node = NodeId::from(words.next()?);
        let connection = connection(words.next()?)?;
        let age = words.next()?.parse().ok()?;
        let word = words.next().unwrap_or_default();
        let awaited_since = word.parse().ok();
        let text = match awaited_since {
            Some(_) => words.next().unwrap_or_default(),
            None => word,
        };
        let place = Place {
            age,
            node,
            connection,
        };
        Some(Entry {
            user,
            place,
            description: description(text),
            awaited_since,
        })
    };
    lines.lines().filter_map(entry).collect()
}

fn description(text: &str) -> Option<Box<Description>> {
    Description::parse(text).map(Box::new)
}

fn connection(text: &str) -> Option<ConnectionId> {
    text.parse().ok().and_then(ConnectionId::new)
}

pub(super) fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The text of a status reply.
pub(super) fn status(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
