//! `parlor top`: one snapshot of the server for the live view.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock;
use crate::config::QualityMode;
use crate::credential::anonymous_address;
use crate::service::Level;
use crate::turn::{LinkQuality, Quality};

use super::context::Context;
use super::failure::Failure;
use super::links::{milliseconds, rounded, silence};
use super::name_lookup::NameLookup;
use super::response::Response;
use super::session_row::Row;
use super::sessions::Connections;

/// A link without media for this time is silent: its last values are old.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// The state of the server. Fields that an older server does not send have their default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopSnapshot {
    pub version: String,
    pub process: u32,
    pub uptime_ms: u64,
    /// The name of the node that answered; `None` if there are no others.
    pub node: Option<String>,
    /// Nodes that have not answered.
    pub silent_nodes: Vec<String>,
    /// Whether the node that answered measures the quality of links.
    pub quality: bool,
    /// Application bytes that the relay of this node has relayed since its start.
    pub bytes: u64,
    /// Packets that the relay of this node has relayed since its start.
    pub packets: u64,
    /// Datagrams and packets that the relay of this node has lost or rejected since its start.
    pub dropped: u64,
    /// WebSockets and allocations.
    pub sessions: u64,
    pub people: Vec<TopPerson>,
    /// Whether the database returned all names.
    pub names_complete: bool,
}

/// A person in a room.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopPerson {
    pub id: String,
    pub name: String,
    pub room_id: Option<String>,
    /// The room's name.
    pub room: Option<String>,
    /// The node of the relay, else that of the WebSocket; `None` if there are no others.
    pub node: Option<String>,
    /// The transport of the relay's allocation that carried media last; `None` without an allocation.
    pub over: Option<String>,
    pub rtt_ms: Option<f64>,
    pub up: MeasuredLink,
    pub down: MeasuredLink,
}

/// A link between a client and the relay.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeasuredLink {
    pub state: LinkState,
    pub loss_pct: Option<f64>,
    pub jitter_ms: Option<f64>,
    pub kbps: u32,
    /// Since the last media packet.
    pub silent_ms: Option<u64>,
}

/// The state of a link, in a word, from bad to good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// The client has gone silent in the middle of a call.
    PathLost,
    Bad,
    Weak,
    Good,
    /// There is media, but too little is known of it.
    Unrated,
    /// There was media, but none in the last seconds.
    Silent,
    /// The person has no allocation: no media is relayed, or none is sent.
    NotRelayed,
    /// The relay has not seen media; or a newer server sent a word that this version does not know.
    #[default]
    #[serde(other)]
    NoMedia,
}

/// Returns a snapshot of this server, and of the sessions of all nodes.
pub(super) async fn top(context: &Context) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let app = &server.app;
    let connections = Connections::of(server).await;
    let rows: Vec<Row> = connections.rows().collect();
    let users: BTreeSet<_> = rows.iter().map(|row| row.user).collect();
    let rooms = rows.iter().filter_map(|row| row.room).collect();
    let names = NameLookup::of(server, users, rooms).await;
    let totals = app.relay.totals();
    let uptime = clock::now().mono.since(app.started.mono);
    let snapshot = TopSnapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        uptime_ms: uptime.as_millis() as u64,
        node: app.node_name(),
        silent_nodes: connections.silent.clone(),
        quality: app.settings().config.turn.quality == QualityMode::On,
        bytes: totals.bytes,
        packets: totals.packets,
        dropped: totals.dropped,
        sessions: rows.len() as u64,
        people: people(&rows, &names),
        names_complete: names.complete,
    };
    Ok(Response::new(snapshot.json(), ""))
}

impl TopSnapshot {
    fn json(&self) -> Value {
        // A structure of numbers and texts cannot fail to serialize.
        serde_json::to_value(self).unwrap_or_else(|_| json!({}))
    }
}

/// Combines the WebSockets and allocations of each person in each room. The values are those of the
/// allocation that carried media last.
fn people(rows: &[Row], names: &NameLookup) -> Vec<TopPerson> {
    let mut people: Vec<(Reverse<Duration>, TopPerson)> = Vec::new();
    let mut positions = HashMap::new();
    for row in rows {
        let position = *positions.entry((row.user, row.room)).or_insert_with(|| {
            people.push((Reverse(Duration::MAX), person(row, names)));
            people.len() - 1
        });
        let (latest, known) = &mut people[position];
        let Some(relay) = row.relay else { continue };
        let silence = Reverse(relay.quality.as_ref().map_or(Duration::MAX, silence));
        if known.over.is_none() || silence > *latest {
            *latest = silence;
            known.over = Some(row.over.trim_start_matches("turn/").to_owned());
            known.node = row.node.map(str::to_owned);
            known.measure(&relay.quality.unwrap_or_default());
        }
    }
    people.into_iter().map(|(_, person)| person).collect()
}

/// Returns a person of whom no allocation is known.
fn person(row: &Row, names: &NameLookup) -> TopPerson {
    let name = match anonymous_address(row.user) {
        Some(address) => format!("(no user) {address}"),
        None => names.shown(row.user),
    };
    let not_relayed = MeasuredLink {
        state: LinkState::NotRelayed,
        ..MeasuredLink::default()
    };
    TopPerson {
        id: row.user.to_owned(),
        name,
        room_id: row.room.map(str::to_owned),
        room: row.room.map(|id| names.room(id).to_owned()),
        node: row.node.map(str::to_owned),
        over: None,
        rtt_ms: None,
        up: not_relayed.clone(),
        down: not_relayed,
    }
}

impl TopPerson {
    fn measure(&mut self, quality: &Quality) {
        self.rtt_ms = quality.round_trip.map(milliseconds);
        self.up = MeasuredLink::of(&quality.up, quality.round_trip);
        self.down = MeasuredLink::of(&quality.down, quality.round_trip);
        if quality.path_lost {
            self.up.state = LinkState::PathLost;
        }
    }
}

impl MeasuredLink {
    fn of(link: &LinkQuality, round_trip: Option<Duration>) -> MeasuredLink {
        let state = match (link.silent, Level::of(link, round_trip)) {
            (None, _) => LinkState::NoMedia,
            (Some(silent), _) if silent > MAX_SILENCE => LinkState::Silent,
            (Some(_), None) => LinkState::Unrated,
            (Some(_), Some(Level::Good)) => LinkState::Good,
            (Some(_), Some(Level::Weak)) => LinkState::Weak,
            (Some(_), Some(Level::Bad)) => LinkState::Bad,
        };
        MeasuredLink {
            state,
            loss_pct: link.recent.map(|loss| rounded(loss.percent())),
            jitter_ms: link.jitter.map(milliseconds),
            kbps: link.kbps,
            silent_ms: link.silent.map(|silent| silent.as_millis() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Loss;

    fn link(lost: u64, silent: Option<Duration>) -> LinkQuality {
        LinkQuality {
            recent: Some(Loss {
                expected: 250,
                lost,
            }),
            silent,
            ..LinkQuality::default()
        }
    }

    #[test]
    fn the_word_of_a_link_follows_from_its_loss_and_silence() {
        let state = |lost, silent: Option<u64>| {
            let link = link(lost, silent.map(Duration::from_millis));
            MeasuredLink::of(&link, None).state
        };
        assert_eq!(state(0, Some(20)), LinkState::Good);
        assert_eq!(state(5, Some(20)), LinkState::Weak);
        assert_eq!(state(20, Some(20)), LinkState::Bad);
        assert_eq!(state(20, Some(10_001)), LinkState::Silent);
        assert_eq!(state(0, None), LinkState::NoMedia);
        let unreported = LinkQuality {
            recent: None,
            ..link(0, Some(Duration::ZERO))
        };
        let state = MeasuredLink::of(&unreported, None).state;
        assert_eq!(state, LinkState::Unrated);
    }

    #[test]
    fn a_lost_path_is_a_state_of_the_way_up() {
        let mut person = TopPerson::default();
        person.measure(&Quality {
            up: link(0, Some(Duration::ZERO)),
            down: link(0, Some(Duration::ZERO)),
            path_lost: true,
            ..Quality::default()
        });
        let states = (person.up.state, person.down.state);
        assert_eq!(states, (LinkState::PathLost, LinkState::Good));
    }

    #[test]
    fn a_snapshot_of_another_version_is_read_as_far_as_it_is_known() {
        let json = json!({
            "version": "9.0.0",
            "later": true,
            "people": [{ "name": "Alice", "up": { "state": "sideways", "lossPct": 1.5 } }],
        });
        let read: TopSnapshot = serde_json::from_value(json).unwrap();
        assert_eq!(read.version, "9.0.0");
        assert_eq!(read.people[0].up.loss_pct, Some(1.5));
        assert_eq!(read.people[0].up.state, LinkState::NoMedia);
        let again = serde_json::from_value::<TopSnapshot>(read.json()).unwrap();
        assert_eq!(again, read);
    }
}
