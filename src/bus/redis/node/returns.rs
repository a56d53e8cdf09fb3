//! Users whose node restarts: if they do not return in time, each node with members in their room ends the wait. The
//! first one that does so counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::room::{Departure, Place, Request, RosterEvent};

/// Users whose node restarts are awaited for this long.
pub(super) const RETURN_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Awaited {
    room: Arc<str>,
    user: Arc<str>,
    place: Place,
}

/// The users who are awaited.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// Users whose time has yet to begin.
    new: Vec<Awaited>,
    /// The oldest first, each with the end of its time.
    waiting: VecDeque<(Mono, Awaited)>,
}

impl Returns {
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn next(&self) -> Option<Mono> {
        if !self.new.is_empty() {
            return Some(Mono::default());
        }
        self.waiting.front().map(|(until, _)| *until)
    }

    pub(super) fn clear(&mut self) {
        *self = Returns::default();
    }

    /// Returns the requests that end the wait for users whose time is over. Those who returned are not concerned.
    pub(super) fn due(&mut self, now: Mono) -> Vec<(Arc<str>, Request)> {
        let new = self.new.drain(..);
        let until = now + RETURN_TIMEOUT;
        self.waiting.extend(new.map(|awaited| (until, awaited)));
        let mut due = Vec::new();
        while let Some((until, _)) = self.waiting.front()
            && *until <= now
            && let Some((_, awaited)) = self.waiting.pop_front()
        {
            let Awaited { room, user, place } = awaited;
            due.push((
                room,
                Request::End {
                    user,
                    place,
                    reason: Departure::Lost,
                },
            ));
        }
        due
    }

    pub(super) fn add(&mut self, room: &Arc<str>, user: &Arc<str>, place: Place) {
        self.new.push(Awaited {
            room: room.clone(),
            user: user.clone(),
            place,
        });
    }

    /// Adds the users whom an event shows as awaited.
    pub(super) fn learn(&mut self, room: &Arc<str>, event: &RosterEvent) {
        let mut add = |user: &Arc<str>, place: Place| self.add(room, user, place);
        match event {
            RosterEvent::Suspended {
                user,
                node,
                connection,
                ..
            } => add(
                user,
                Place {
                    age: 0,
                    node: node.clone(),
                    connection: *connection,
                },
            ),
            RosterEvent::Entered {
                roster: Some(roster),
                ..
            }
            | RosterEvent::Snapshot { roster, .. } => {
                for entry in roster.iter().filter(|entry| entry.awaited_since.is_some()) {
                    add(&entry.user, entry.place.clone());
                }
            }
            _ => {}
        }
    }
}
