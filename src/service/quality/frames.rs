//! The links that a room learns of: those whose level has changed, and now and then those that are not good.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::levels::Level;
use super::links::{LinkValues, RoomLinks, UserLinks};

/// Links in one frame. Further ones follow in the next.
const MAX_LINKS: usize = 64;
/// After this many polls, a link that is not good is sent again.
const POLLS_PER_REPETITION: u32 = 5;

/// The direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::service) enum Direction {
    /// From the client to the relay.
    Up,
    /// From the relay to the client.
    Down,
}

/// A link as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::service) struct LinkReport {
    pub user_id: Box<str>,
    pub direction: Direction,
    pub level: Level,
    pub loss_pct: Option<f64>,
    pub jitter_ms: Option<f64>,
    pub rtt_ms: Option<u64>,
    pub kbps: Option<u32>,
    pub silent_ms: Option<u64>,
}

/// The links as the rooms know them.
#[derive(Debug, Default)]
pub(super) struct KnownLinks {
    rooms: HashMap<Box<str>, BTreeMap<Box<str>, [Known; 2]>>,
}

/// A link as its room knows it.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    level: Level,
    /// The level that was sent last.
    sent: Level,
    /// Polls since then.
    polls: u32,
}

impl KnownLinks {
    /// Takes the links of a poll, and returns what to send to each room.
    pub(super) fn update(&mut self, current: &RoomLinks) -> Vec<(Box<str>, Vec<LinkReport>)> {
        for (room, users) in current {
            let known = self.rooms.entry(room.clone()).or_default();
            for user in users.keys() {
                known.entry(user.clone()).or_default();
            }
        }
        let mut reports = Vec::new();
        self.rooms.retain(|room, known| {
            let links = update_room(known, current.get(room));
            if !links.is_empty() {
                reports.push((room.clone(), links));
            }
            !known.is_empty()
        });
        reports
    }
}

/// Updates the links of a room, and returns those to send. Forgets users without media, once the room knows.
fn update_room(
    known: &mut BTreeMap<Box<str>, [Known; 2]>,
    current: Option<&HashMap<Box<str>, UserLinks>>,
) -> Vec<LinkReport> {
    let mut reports = Vec::new();
    known.retain(|user, links| {
        let values = current.and_then(|current| current.get(user));
        for (index, link) in links.iter_mut().enumerate() {
            let values = values.map_or_else(LinkValues::default, |values| values[index]);
            if link.update(&values) && reports.len() < MAX_LINKS {
                link.sent = link.level;
                link.polls = 0;
                let direction = [Direction::Up, Direction::Down][index];
                reports.push(LinkReport::new(user, direction, link.level, &values));
            }
        }
        values.is_some() || links.iter().any(|link| link.sent != Level::Good)
    });
    reports
}

impl Known {
    /// Returns whether the link is to be sent.
    fn update(&mut self, values: &LinkValues) -> bool {
        self.level = self.level.next(values);
        self.polls = self.polls.saturating_add(1);
        let is_due = self.level != Level::Good && self.polls >= POLLS_PER_REPETITION;
        self.level != self.sent || is_due
    }
}

impl LinkReport {
    fn new(user: &str, direction: Direction, level: Level, values: &LinkValues) -> LinkReport {
        let ms = |time: std::time::Duration| tenths(time.as_secs_f64() * 1000.0);
        let is_active = values.silent.is_some();
        LinkReport {
            user_id: user.into(),
            direction,
            level,
            loss_pct: values.is_rated().then(|| tenths(values.loss.percent())),
            jitter_ms: values.jitter.map(ms),
            rtt_ms: values
                .round_trip
                .map(|time| time.as_secs_f64() * 1000.0)
                .map(|ms| ms.round() as u64),
            kbps: is_active.then_some(values.kbps),
            silent_ms: values.silent.map(|time| time.as_millis() as u64),
        }
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
