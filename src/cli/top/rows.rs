//! The rows of the live view: rooms, and the links of the people in them, sorted and filtered.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use crate::admin::{LinkState, MeasuredLink, TopPerson};
use crate::display_name::escape;

/// The order of the rooms, and of the people in each room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum SortOrder {
    /// By the state of the worse link, then by its loss.
    #[default]
    WorstFirst,
    RoundTrip,
    BitRate,
    Name,
}

impl SortOrder {
    pub(super) fn next(self) -> SortOrder {
        match self {
            SortOrder::WorstFirst => SortOrder::RoundTrip,
            SortOrder::RoundTrip => SortOrder::BitRate,
            SortOrder::BitRate => SortOrder::Name,
            SortOrder::Name => SortOrder::WorstFirst,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            SortOrder::WorstFirst => "worst first",
            SortOrder::RoundTrip => "round trip",
            SortOrder::BitRate => "bit rate",
            SortOrder::Name => "name",
        }
    }

    /// Compares two people. Names decide between equal values.
    fn compare(self, one: &TopPerson, other: &TopPerson) -> Ordering {
        let order = match self {
            SortOrder::WorstFirst => {
                let [one, other] = [one, other].map(worse_link);
                one.0.cmp(&other.0).then(other.1.total_cmp(&one.1))
            }
            SortOrder::RoundTrip => {
                let time = |person: &TopPerson| person.rtt_ms.unwrap_or(-1.0);
                time(other).total_cmp(&time(one))
            }
            SortOrder::BitRate => {
                let rate = |person: &TopPerson| person.up.kbps.saturating_add(person.down.kbps);
                rate(other).cmp(&rate(one))
            }
            SortOrder::Name => Ordering::Equal,
        };
        order.then_with(|| name_key(one).cmp(&name_key(other)))
    }
}

/// The state and loss of a person's worse link.
fn worse_link(person: &TopPerson) -> (LinkState, f64) {
    let key = |link: &MeasuredLink| (link.state, link.loss_pct.unwrap_or(0.0));
    let (up, down) = (key(&person.up), key(&person.down));
    match up.0.cmp(&down.0).then(down.1.total_cmp(&up.1)) {
        Ordering::Greater => down,
        _ => up,
    }
}

fn name_key(person: &TopPerson) -> (String, &str) {
    (person.name.to_lowercase(), &person.id)
}

/// A row of the view. Texts of users are escaped.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Row {
    Room {
        /// `None` for people whose credential is bound to no room.
        name: Option<String>,
        people: usize,
    },
    Link(LinkRow),
}

/// One link of a person, or a person of whom nothing is relayed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LinkRow {
    /// Empty below the first row of a person.
    pub name: String,
    pub direction: &'static str,
    pub state: LinkState,
    pub loss_pct: Option<f64>,
    pub jitter_ms: Option<f64>,
    /// Of both links; shown in the first row.
    pub rtt_ms: Option<f64>,
    pub kbps: Option<u32>,
    pub silent_ms: Option<u64>,
    pub over: String,
    pub node: String,
    /// Whether this is the first row of a person.
    pub is_first: bool,
}

/// Returns the rows of the people that match the filter, by room.
pub(super) fn rows(people: &[TopPerson], order: SortOrder, filter: &str) -> Vec<Row> {
    let filter = filter.to_lowercase();
    let mut shown: Vec<&TopPerson> = people
        .iter()
        .filter(|person| matches(person, &filter))
        .collect();
    shown.sort_by(|one, other| order.compare(one, other));
    let mut rows = Vec::new();
    for (room, people) in by_room(&shown, order) {
        rows.push(Row::Room {
            name: room.map(|name| escape(name).into_owned()),
            people: people.len(),
        });
        for person in people {
            rows.extend(links(person).into_iter().map(Row::Link));
        }
    }
    rows
}

/// Whether the room, the name or the id contains the filter, which is in lower case.
fn matches(person: &TopPerson, filter: &str) -> bool {
    let texts = [
        Some(&person.name),
        Some(&person.id),
        person.room.as_ref(),
        person.room_id.as_ref(),
    ];
    let mut texts = texts.into_iter().flatten();
    filter.is_empty() || texts.any(|text| text.to_lowercase().contains(filter))
}

/// The rooms in the order of their first people, or of their names.
fn by_room<'a>(
    people: &[&'a TopPerson],
    order: SortOrder,
) -> Vec<(Option<&'a str>, Vec<&'a TopPerson>)> {
    let mut rooms: Vec<(Option<&str>, Vec<&TopPerson>)> = Vec::new();
    let mut positions = HashMap::new();
    for person in people {
        let position = *positions.entry(&person.room_id).or_insert_with(|| {
            rooms.push((person.room.as_deref(), Vec::new()));
            rooms.len() - 1
        });
        rooms[position].1.push(person);
    }
    if order == SortOrder::Name {
        // People without a room come last.
        rooms.sort_by_key(|(room, _)| (Reverse(room.is_some()), room.map(str::to_lowercase)));
    }
    rooms
}

/// Two rows, or one for a person without an allocation.
fn links(person: &TopPerson) -> Vec<LinkRow> {
    let first = LinkRow {
        name: escape(&person.name).into_owned(),
        direction: "",
        state: LinkState::NotRelayed,
        loss_pct: None,
        jitter_ms: None,
        rtt_ms: None,
        kbps: None,
        silent_ms: None,
        over: person
            .over
            .as_deref()
            .map_or(String::new(), |over| escape(over).into_owned()),
        node: person
            .node
            .as_deref()
            .map_or(String::new(), |node| escape(node).into_owned()),
        is_first: true,
    };
    if person.over.is_none() {
        return vec![first];
    }
    let row = |direction, link: &MeasuredLink| LinkRow {
        direction,
        state: link.state,
        loss_pct: link.loss_pct,
        jitter_ms: link.jitter_ms,
        rtt_ms: person.rtt_ms,
        kbps: Some(link.kbps),
        silent_ms: link.silent_ms,
        ..first.clone()
    };
    let down = LinkRow {
        name: String::new(),
        over: String::new(),
        node: String::new(),
        is_first: false,
        ..row("down", &person.down)
    };
    vec![row("up", &person.up), down]
}

#[cfg(test)]
mod tests;
