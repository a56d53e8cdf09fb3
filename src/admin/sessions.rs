//! `parlor sessions`: lists connected people. One row per person, or with `--all` one per WebSocket
//! and per allocation.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ring::digest;
use serde_json::{Value, json};

use crate::credential::anonymous_address;
use crate::service::ConnectionInfo;
use crate::storage::utc;
use crate::turn::{Session, Transport};

use super::context::{Context, ServerContext};
use super::failure::Failure;
use super::name_lookup::NameLookup;
use super::response::Response;

/// Size of a session id: the probability that two of 10,000 sessions have the same is 1 in 5 million.
const SESSION_ID_BYTES: usize = 6;

/// A snapshot of all connections and relays.
pub(super) struct Connections {
    sockets: Vec<ConnectionInfo>,
    relays: Vec<Session>,
}

impl Connections {
    pub(super) async fn of(server: &ServerContext) -> Connections {
        Connections {
            relays: server.app.relay.sessions().await,
            sockets: server.app.hub.connections(),
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let sockets = self.sockets.iter().map(Row::signaling);
        sockets.chain(self.relays.iter().map(Row::relay))
    }
}

pub(super) async fn sessions(context: &Context, all: bool) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let connections = Connections::of(server).await;
    let mut rows: Vec<Row> = connections.rows().collect();
    let users = rows.iter().map(|row| row.user).collect();
    let rooms = rows.iter().filter_map(|row| row.room).collect();
    let names = NameLookup::of(server, users, rooms).await;
    rows.sort_by_key(|row| {
        let room = row.room.map(|room| names.room(room));
        (room, names.shown(row.user), row.user, row.over, row.since)
    });
    let response = match (rows.is_empty(), all) {
        (true, _) => Response::new(json!([]), "").remark("No one is connected."),
        (false, true) => every_row(&rows, &names),
        (false, false) => by_person(&rows, &names),
    };
    Ok(if names.complete {
        response
    } else {
        response.remark(
            "Some names could not be read from the database; their ids are shown: see `parlor \
         status` and the log.",
        )
    })
}

fn every_row(rows: &[Row], names: &NameLookup) -> Response {
    let header = [
        "SESSION", "ROOM", "NAME", "ID", "OVER", "SINCE", "SENT", "RECEIVED",
    ];
    let json = rows.iter().map(|row| row.json(names)).collect();
    Response::table(json, &header, rows.iter().map(|row| row.texts(names)))
}

/// Sorted by the first row of each person.
fn by_person(rows: &[Row], names: &NameLookup) -> Response {
    let mut people: Vec<PersonRow> = Vec::new();
    let mut positions = HashMap::new();
    for row in rows {
        let position = *positions.entry(row.user).or_insert_with(|| {
            people.push(PersonRow::new(row));
            people.len() - 1
        });
        people[position].add(row);
    }
    let header = ["NAME", "ID", "ROOM", "OVER", "SINCE", "SENT", "RECEIVED"];
    let json = people.iter().map(|person| person.json(names)).collect();
    Response::table(
        json,
        &header,
        people.iter().map(|person| person.texts(names)),
    )
}

/// A WebSocket or an allocation.
pub(super) struct Row<'a> {
    /// The user, or [`crate::credential::anonymous_address`].
    pub user: &'a str,
    pub room: Option<&'a str>,
    over: &'static str,
    since: u64,
    /// The details of an allocation; `None` for a WebSocket.
    pub relay: Option<&'a Session>,
}

impl<'a> Row<'a> {
    fn signaling(connected: &'a ConnectionInfo) -> Row<'a> {
        Row {
            user: &connected.user,
            room: Some(&connected.room),
            over: "websocket",
            since: connected.since,
            relay: None,
        }
    }

    fn relay(session: &'a Session) -> Row<'a> {
        Row {
            user: &session.user,
            room: session.room.as_deref(),
            over: match session.transport {
                Transport::Udp => "turn/udp",
                Transport::Tcp => "turn/tcp",
                Transport::Tls => "turn/tls",
            },
            since: session.since,
            relay: Some(session),
        }
    }

    /// The id for `parlor session kill`: constant for the lifetime of the session.
    pub(super) fn id(&self) -> String {
        let five_tuple = self.relay.map(|relay| (relay.client, relay.server));
        let fixed = json!([self.over, self.user, self.room, self.since, five_tuple]);
        let hash = digest::digest(&digest::SHA256, fixed.to_string().as_bytes());
        let bytes = hash.as_ref().iter().take(SESSION_ID_BYTES);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn json(&self, names: &NameLookup) -> Value {
        let mut json = json!({
            "id": self.id(),
            "user": names.user_json(self.user),
            "room": self.room.map(|id| names.room_json(id)),
            "over": self.over,
            "since": utc::format(self.since),
        });
        if let Some(relay) = self.relay {
            json["client"] = relay.client.to_string().into();
            json["relayed"] = relay.relayed.to_string().into();
            if let Some(relayed) = relay.relayed_ipv6 {
                json["relayed_ipv6"] = relayed.to_string().into();
            }
            json["bytes_sent"] = relay.bytes_up.into();
            json["bytes_received"] = relay.bytes_down.into();
        }
        json
    }

    fn texts(&self, names: &NameLookup) -> Vec<String> {
        let bytes = |count: fn(&Session) -> u64| {
            self.relay.map_or(String::new(), |relay| size(count(relay)))
        };
        let id = match self
            .relay
            .filter(|_| anonymous_address(self.user).is_some())
        {
            Some(relay) => relay.client.to_string(),
            None => self.user.to_owned(),
        };
        vec![
            self.id(),
            self.room
                .map_or(String::new(), |id| names.room(id).to_owned()),
            names.shown(self.user),
            id,
            self.over.to_owned(),
            utc::format(self.since),
            bytes(|relay| relay.bytes_up),
            bytes(|relay| relay.bytes_down),
        ]
    }
}

/// All WebSockets and allocations of one person.
struct PersonRow<'a> {
    user: &'a str,
    rooms: BTreeSet<&'a str>,
    /// The number of entries per transport.
    over: BTreeMap<&'static str, usize>,
    since: u64,
    has_relay: bool,
    bytes_sent: u64,
    bytes_received: u64,
}

impl<'a> PersonRow<'a> {
    fn new(first: &Row<'a>) -> PersonRow<'a> {
        PersonRow {
            user: first.user,
            rooms: BTreeSet::new(),
            over: BTreeMap::new(),
            since: first.since,
            has_relay: false,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    fn add(&mut self, row: &Row<'a>) {
        self.rooms.extend(row.room);
        *self.over.entry(row.over).or_default() += 1;
        self.since = self.since.min(row.since);
        if let Some(relay) = row.relay {
            self.has_relay = true;
            self.bytes_sent = self.bytes_sent.saturating_add(relay.bytes_up);
            self.bytes_received = self.bytes_received.saturating_add(relay.bytes_down);
        }
    }

    fn json(&self, names: &NameLookup) -> Value {
        let rooms = self.rooms.iter().map(|id| names.room_json(id));
        json!({
            "user": names.user_json(self.user),
            "rooms": rooms.collect::<Value>(),
            "over": self.over,
            "since": utc::format(self.since),
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
        })
    }

    fn texts(&self, names: &NameLookup) -> Vec<String> {
        let rooms: Vec<_> = self.rooms.iter().map(|id| names.room(id)).collect();
        let over = self.over.iter().map(|(over, count)| match count {
            1 => (*over).to_owned(),
            _ => format!("{count} {over}"),
        });
        let bytes = |count: u64| {
            if self.has_relay {
                size(count)
            } else {
                String::new()
            }
        };
        vec![
            names.shown(self.user),
            anonymous_address(self.user).unwrap_or(self.user).to_owned(),
            rooms.join(", "),
            over.collect::<Vec<_>>().join(", "),
            utc::format(self.since),
            bytes(self.bytes_sent),
            bytes(self.bytes_received),
        ]
    }
}

/// Bytes, in the largest unit that leaves at least one.
fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{value:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_have_a_readable_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_234_567, "1.2 MB"),
            (5_000_000_000_000_000, "5000.0 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
