//! `parlor sessions --quality`: the quality of the links between clients and their relay, the worst first.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::turn::{LinkQuality, Quality};

use super::name_lookup::NameLookup;
use super::response::Response;
use super::session_row::Row;

/// The quality of one allocation's links.
struct Links<'a> {
    row: &'a Row<'a>,
    quality: Quality,
}

/// Returns a row for each person and room and each link; with `all`, for each allocation and each link.
pub(super) fn links(rows: &[Row], names: &NameLookup, has_nodes: bool, all: bool) -> Response {
    let measured = rows.iter().filter_map(|row| {
        let quality = row.relay?.quality?;
        Some(Links { row, quality })
    });
    let mut measured: Vec<_> = if all {
        measured.collect()
    } else {
        busiest(measured)
    };
    if measured.is_empty() {
        let text = "No call uses the relay, or `turn.quality` is off.";
        return Response::new(json!([]), "").remark(text);
    }
    // Stable: equal losses keep the order of rooms and names.
    measured.sort_by(|one, other| other.worst_loss().total_cmp(&one.worst_loss()));
    let mut header = vec![
        "NAME", "ROOM", "LINK", "LOSS", "JITTER", "RTT", "KBIT/S", "SILENT",
    ];
    if all {
        header.insert(0, "SESSION");
    }
    if has_nodes {
        header.push("NODE");
    }
    let json = measured
        .iter()
        .map(|links| links.json(names, all))
        .collect();
    let texts = measured.iter().flat_map(|links| {
        let [up, down] = [("up", &links.quality.up), ("down", &links.quality.down)];
        [up, down].map(|link| links.texts(link, names, all))
    });
    Response::table(json, &header, texts)
}

/// Returns the allocation of each person in each room that has carried media most recently.
fn busiest<'a>(measured: impl Iterator<Item = Links<'a>>) -> Vec<Links<'a>> {
    let mut busiest: Vec<Links<'a>> = Vec::new();
    let mut positions: HashMap<_, usize> = HashMap::new();
    for links in measured {
        let person = (links.row.node, links.row.user, links.row.room);
        match positions.get(&person) {
            Some(position) if links.compare_silence(&busiest[*position]) == Ordering::Less => {
                busiest[*position] = links;
            }
            Some(_) => {}
            None => {
                positions.insert(person, busiest.len());
                busiest.push(links);
            }
        }
    }
    busiest
}

impl Links<'_> {
    fn compare_silence(&self, other: &Links<'_>) -> Ordering {
        silence(&self.quality).cmp(&silence(&other.quality))
    }

    fn worst_loss(&self) -> f64 {
        let losses = [self.quality.up.recent, self.quality.down.recent];
        let percents = losses.into_iter().flatten().map(|loss| loss.percent());
        percents.fold(0.0, f64::max)
    }

    fn json(&self, names: &NameLookup, all: bool) -> Value {
        let mut json = json!({
            "user": names.user_json(self.row.user),
            "room": self.row.room.map(|id| names.room_json(id)),
            "up": link_json(&self.quality.up),
            "down": link_json(&self.quality.down),
            "rttMs": self.quality.round_trip.map(milliseconds),
            "pathLost": self.quality.path_lost,
        });
        if all {
            json["id"] = self.row.id().into();
            json["over"] = self.row.over.into();
            json["client"] = self.row.relay.map(|relay| relay.client.to_string()).into();
        }
        if let Some(node) = self.row.node {
            json["node"] = node.into();
        }
        json
    }

    fn texts(
        &self,
        (name, link): (&str, &LinkQuality),
        names: &NameLookup,
        all: bool,
    ) -> Vec<String> {
        let room = self.row.room.map_or("", |id| names.room(id));
        let silent = match link.silent {
            Some(_) if self.quality.path_lost && name == "up" => "path lost".to_owned(),
            Some(silent) => format!("{:.1} s", silent.as_secs_f64()),
            None => "no media".to_owned(),
        };
        let mut texts = vec![
            names.shown(self.row.user),
            room.to_owned(),
            name.to_owned(),
            or_question_mark(link.recent.map(|loss| format!("{:.1} %", loss.percent()))),
            or_question_mark(link.jitter.map(in_milliseconds)),
            or_question_mark(self.quality.round_trip.map(in_milliseconds)),
            link.kbps.to_string(),
            silent,
        ];
        if all {
            texts.insert(0, self.row.id());
        }
        texts.extend(self.row.node.map(str::to_owned));
        texts
    }
}

/// The time since the last media packet on either link.
pub(super) fn silence(quality: &Quality) -> Duration {
    let silences = [quality.up.silent, quality.down.silent];
    silences
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(Duration::MAX)
}

/// Returns a link for scripts. Unknown values are `null`.
fn link_json(link: &LinkQuality) -> Value {
    json!({
        "lossPct": link.recent.map(|loss| rounded(loss.percent())),
        "jitterMs": link.jitter.map(milliseconds),
        "kbps": link.kbps,
        "silentMs": link.silent.map(|silent| silent.as_millis() as u64),
        "packets": link.total.map(|loss| loss.expected),
        "lost": link.total.map(|loss| loss.lost),
    })
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

/// Rounds to a tenth.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn in_milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

fn or_question_mark(text: Option<String>) -> String {
    text.unwrap_or_else(|| "?".to_owned())
}
