//! The links of the users of a room, of all their allocations.

use std::collections::HashMap;
use std::time::Duration;

use crate::relay::Session;
use crate::turn::{LinkQuality, Loss, Quality};

/// A link with fewer packets in the window is not rated.
const MIN_PACKETS: u64 = 100;
/// A link without media for this time is over: its window is not renewed.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// A user's two links in a room: up and down.
pub(super) type UserLinks = [LinkValues; 2];
/// The links of all users, by room and user.
pub(super) type RoomLinks = HashMap<Box<str>, HashMap<Box<str>, UserLinks>>;

/// The values of a link in the last 5 to 10 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LinkValues {
    pub loss: Loss,
    pub jitter: Option<Duration>,
    pub round_trip: Option<Duration>,
    pub kbps: u32,
    /// Since the last media packet; `None` if there was none.
    pub silent: Option<Duration>,
}

impl LinkValues {
    /// The values of one allocation; `None` if its link has no media.
    pub(super) fn of(link: &LinkQuality, round_trip: Option<Duration>) -> Option<LinkValues> {
        link.silent.filter(|silent| *silent <= MAX_SILENCE)?;
        Some(LinkValues {
            loss: link.recent.unwrap_or_default(),
            jitter: link.jitter,
            round_trip,
            kbps: link.kbps,
            silent: link.silent,
        })
    }

    /// Whether there are enough packets for a judgement.
    pub(super) fn is_rated(&self) -> bool {
        self.loss.expected >= MIN_PACKETS
    }

    /// Adds the link of another allocation: the losses of both, and the rest of the one with the later media.
    fn add(&mut self, other: &LinkValues) {
        let loss = Loss {
            expected: self.loss.expected + other.loss.expected,
            lost: self.loss.lost + other.loss.lost,
        };
        let silent = |values: &LinkValues| values.silent.unwrap_or(Duration::MAX);
        if silent(other) < silent(self) {
            *self = *other;
        }
        self.loss = loss;
    }
}

/// The links of an allocation: up and down.
pub(super) fn links(quality: &Quality) -> [Option<LinkValues>; 2] {
    [&quality.up, &quality.down].map(|link| LinkValues::of(link, quality.round_trip))
}

/// The links of all users whose credential is bound to a room.
pub(super) fn by_room(sessions: &[Session]) -> RoomLinks {
    let mut rooms = RoomLinks::new();
    for session in sessions {
        let (Some(room), Some(quality)) = (&session.room, &session.quality) else {
            continue;
        };
        let links = links(quality);
        if links.iter().all(Option::is_none) {
            continue;
        }
        let users = rooms.entry(room.clone()).or_default();
        let user = users.entry(session.user.clone()).or_default();
        for (known, link) in user.iter_mut().zip(links) {
            if let Some(link) = link {
                known.add(&link);
            }
        }
    }
    rooms
}

#[cfg(test)]
mod tests;
