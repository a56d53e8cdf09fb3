//! A room of the hub: its state machine, and the queues of its connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;

use super::outbox::Outbox;
use crate::clock;
use crate::config::Signaling;
use crate::rate::Limit;
use crate::room::{CloseCode, ConnectionId, Effect, Join, Limits, Room};
use crate::token::Issue;

/// A room, and the queues of its connections.
pub(super) struct RoomEntry {
    pub room: Room,
    pub connections: HashMap<ConnectionId, ConnectionEntry>,
    pub effects: Vec<Effect>,
    /// Frames that were dropped from full queues.
    dropped: Counter,
}

/// A connection of a room.
pub(super) struct ConnectionEntry {
    pub user: Arc<str>,
    /// The issue time of the connection's token.
    pub issue: Issue,
    pub since: u64,
    outbox: Arc<Outbox>,
}

/// A connection, as shown to admins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    pub user: Arc<str>,
    pub room: Arc<str>,
    /// In Unix seconds.
    pub since: u64,
}

impl RoomEntry {
    /// An empty room. `dropped` counts frames that are dropped from full queues.
    pub(super) fn new(room: Room, dropped: Counter) -> RoomEntry {
        RoomEntry {
            room,
            connections: HashMap::new(),
            effects: Vec::new(),
            dropped,
        }
    }

    pub(super) fn join(
        &mut self,
        user: &str,
        issue: Issue,
        resume: bool,
        outbox: &Arc<Outbox>,
    ) -> Result<ConnectionId, CloseCode> {
        let now = clock::now();
        let joined = self.room.join(user, resume, now.mono, &mut self.effects);
        match joined {
            Join::Rejected(code) => {
                self.apply_effects();
                Err(code)
            }
            Join::Accepted(connection) => {
                let known = ConnectionEntry {
                    user: user.into(),
                    issue,
                    since: now.unix,
                    outbox: outbox.clone(),
                };
                self.connections.insert(connection, known);
                self.apply_effects();
                Ok(connection)
            }
        }
    }

    pub(super) fn apply_effects(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Deliver {
                    connection,
                    frame,
                    from,
                } => {
                    if let Some(known) = self.connections.get(&connection) {
                        let dropped = known.outbox.push(frame, from);
                        if dropped > 0 {
                            self.dropped.inc_by(dropped as u64);
                        }
                    }
                }
                Effect::Close { connection, code } => {
                    if let Some(known) = self.connections.remove(&connection) {
                        known.outbox.close(code);
                    }
                }
            }
        }
    }
}

/// The send limits of each connection.
pub fn limits(settings: &Signaling) -> Limits {
    let burst = settings.byte_burst() as u64;
    Limits {
        messages: Limit::per_second(settings.rate.into(), settings.burst.into()),
        bytes: Limit::per_second(settings.byte_rate.into(), burst),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
