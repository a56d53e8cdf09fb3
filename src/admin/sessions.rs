//! `parlor sessions`: lists connected people. One row per person, or with `--all` one per WebSocket
//! and per allocation.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::credential::anonymous_address;
use crate::service::NodeSessions;
use crate::storage::utc;

use super::context::{Context, ServerContext};
use super::failure::Failure;
use super::links::links;
use super::name_lookup::NameLookup;
use super::nodes::with_silent;
use super::response::Response;
use super::session_row::{Row, size};

/// A snapshot of all connections and relays of all nodes.
pub(super) struct Connections {
    /// The first is this node, which has no name if there are no others.
    nodes: Vec<(Option<String>, NodeSessions)>,
    /// Nodes that have not answered.
    pub silent: Vec<String>,
}

impl Connections {
    pub(super) async fn of(server: &ServerContext) -> Connections {
        let app = &server.app;
        let others = app.sessions_elsewhere();
        let (own, others) = tokio::join!(app.listed_sessions(), others);
        let mut connections = Connections {
            nodes: vec![(app.node_name(), own)],
            silent: Vec::new(),
        };
        if let Some(others) = others {
            let answers = others.answers.into_iter();
            connections
                .nodes
                .extend(answers.map(|(name, sessions)| (Some(name), sessions)));
            connections.silent = others.silent;
        }
        connections
    }

    /// Whether there are other nodes.
    fn has_names(&self) -> bool {
        self.nodes.iter().any(|(name, _)| name.is_some())
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.nodes.iter().flat_map(|(name, sessions)| {
            let name = name.as_deref();
            let connections = sessions.connections.iter();
            let connections = connections.map(move |one| Row::signaling(name, one));
            let relays = sessions.relays.iter();
            connections.chain(relays.map(move |one| Row::relay(name, one)))
        })
    }

    /// Whether a row is of this node.
    pub(super) fn is_own(&self, row: &Row<'_>) -> bool {
        row.node == self.nodes[0].0.as_deref()
    }
}

/// Lists people; with `all`, WebSockets and allocations. With `quality`, lists the links of those that use the relay.
pub(super) async fn sessions(
    context: &Context,
    all: bool,
    quality: bool,
) -> Result<Response, Failure> {
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
    let has_nodes = connections.has_names();
    let response = match (rows.is_empty(), all) {
        _ if quality => links(&rows, &names, has_nodes, all),
        (true, _) => Response::new(json!([]), "").remark("No one is connected."),
        (false, true) => every_row(&rows, &names, has_nodes),
        (false, false) => by_person(&rows, &names, has_nodes),
    };
    let response = with_silent(response, &connections.silent);
    Ok(if names.complete {
        response
    } else {
        response.remark(
            "Some names could not be read from the database; their ids are shown: see `parlor \
         status` and the log.",
        )
    })
}

fn every_row(rows: &[Row], names: &NameLookup, has_nodes: bool) -> Response {
    let mut header = vec![
        "SESSION", "ROOM", "NAME", "ID", "OVER", "SINCE", "SENT", "RECEIVED",
    ];
    if has_nodes {
        header.push("NODE");
    }
    let json = rows.iter().map(|row| row.json(names)).collect();
    Response::table(json, &header, rows.iter().map(|row| row.texts(names)))
}

/// Sorted by the first row of each person.
fn by_person(rows: &[Row], names: &NameLookup, has_nodes: bool) -> Response {
    let mut people: Vec<PersonRow> = Vec::new();
    let mut positions = HashMap::new();
    for row in rows {
        let position = *positions.entry(row.user).or_insert_with(|| {
            people.push(PersonRow::new(row));
            people.len() - 1
        });
        people[position].add(row);
    }
    let mut header = vec!["NAME", "ID", "ROOM", "OVER", "SINCE", "SENT", "RECEIVED"];
    if has_nodes {
        header.push("NODE");
    }
    let json = people.iter().map(|person| person.json(names)).collect();
    Response::table(
        json,
        &header,
        people.iter().map(|person| person.texts(names)),
    )
}

/// All WebSockets and allocations of one person.
struct PersonRow<'a> {
    user: &'a str,
    rooms: BTreeSet<&'a str>,
    nodes: BTreeSet<&'a str>,
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
            nodes: BTreeSet::new(),
            over: BTreeMap::new(),
            since: first.since,
            has_relay: false,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    fn add(&mut self, row: &Row<'a>) {
        self.rooms.extend(row.room);
        self.nodes.extend(row.node);
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
        let mut json = json!({
            "user": names.user_json(self.user),
            "rooms": rooms.collect::<Value>(),
            "over": self.over,
            "since": utc::format(self.since),
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
        });
        if !self.nodes.is_empty() {
            json["nodes"] = json!(self.nodes);
        }
        json
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
        let mut texts = vec![
            names.shown(self.user),
            anonymous_address(self.user).unwrap_or(self.user).to_owned(),
            rooms.join(", "),
            over.collect::<Vec<_>>().join(", "),
            utc::format(self.since),
            bytes(self.bytes_sent),
            bytes(self.bytes_received),
        ];
        if !self.nodes.is_empty() {
            let nodes: Vec<_> = self.nodes.iter().copied().collect();
            texts.push(nodes.join(", "));
        }
        texts
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
