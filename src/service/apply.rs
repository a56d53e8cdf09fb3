//! Makes committed changes take effect, in one order: hub, relay, bus; then the count.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use serde::{Deserialize, Serialize};

use super::app::App;
use super::change_signals::is_urgent;
use crate::bus::Event;
use crate::credential::RevokedGenerations;
use crate::room::{CloseCode, Departure};

/// The connections and allocations that a change ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// WebSockets that were closed.
    pub connections: usize,
    /// Relay allocations that were freed.
    pub relays: usize,
}

/// The process that committed a change.
#[derive(Debug)]
pub(super) enum ChangeSource {
    ThisProcess,
    /// Another process wrote to the database, such as a command of the CLI. The event then names neither
    /// the close code nor the issue times of ended tokens, so the store decided: these connections of
    /// the event have lost access.
    AnotherProcess(Vec<LostAccess>),
}

impl ChangeSource {
    /// Whether a connection has lost access with this code.
    fn has_code(&self, code: CloseCode) -> bool {
        match self {
            ChangeSource::ThisProcess => false,
            ChangeSource::AnotherProcess(lost) => lost.iter().any(|lost| lost.code == code),
        }
    }
}

/// A connection whose user may no longer be in the room.
#[derive(Debug)]
pub(super) struct LostAccess {
    pub room: Arc<str>,
    pub user: Arc<str>,
    pub code: CloseCode,
}

/// An event that has taken effect; the relay shards may still have to free allocations.
pub(super) struct Applied {
    pub event: Event,
    pub connections: usize,
    /// Resolves with the number of freed allocations.
    pub relays: BoxFuture<'static, usize>,
}

impl App {
    /// Commits `change`, and applies the event that it results in before `guard` is released. The
    /// relay counts after that, so that no other change waits for it.
    pub(super) async fn commit<T, E, G>(
        &self,
        guard: impl Future<Output = G>,
        change: impl Future<Output = Result<T, E>>,
        event: impl FnOnce(&T) -> Option<Event>,
    ) -> Result<(T, Option<Applied>), E> {
        let guard = guard.await;
        let committed = change.await?;
        let applied = event(&committed).map(|event| self.apply(event, ChangeSource::ThisProcess));
        drop(guard);
        Ok((committed, applied))
    }

    /// Commits a `change` that no other change may overlap, applies its event, and waits for the
    /// relay's count. `None` if `change` finds nothing to change.
    pub(super) async fn commit_exclusively<T, E>(
        &self,
        change: impl Future<Output = Result<Option<T>, E>>,
        event: impl FnOnce(&T) -> Event,
    ) -> Result<Option<(T, Ended)>, E> {
        let event = |committed: &Option<T>| committed.as_ref().map(event);
        let (committed, applied) = self.commit(self.order.exclusive(), change, event).await?;
        Ok(match (committed, applied) {
            (Some(committed), Some(applied)) => Some((committed, applied.count().await)),
            _ => None,
        })
    }

    /// Applies an event whose change is committed: closes WebSockets, ends relay allocations and
    /// notifies the bus. The caller holds a guard of [`App::order`] from before the commit.
    pub(super) fn apply(&self, event: Event, source: ChangeSource) -> Applied {
        let connections = match &source {
            ChangeSource::ThisProcess => self.close_connections(&event),
            ChangeSource::AnotherProcess(lost) => lost
                .iter()
                .filter(|one| {
                    let reason = departure(&event, one.code);
                    self.hub.close_for(reason, &one.room, &one.user, one.code)
                })
                .count(),
        };
        if let Event::RoleChanged { room, users } = &event {
            self.hub.read_roles(room, users);
        }
        if let Event::Muted { user, room, by } = &event {
            self.hub.mute(room, user, by.as_deref());
        }
        self.hub.live_changes.add(&event);
        let relays = self.update_relay(&event, &source);
        self.bus.publish(&event);
        if matches!(source, ChangeSource::ThisProcess) && is_urgent(&event) {
            self.hub.changes.commit();
        }
        log_applied(&event, &source);
        Applied {
            event,
            connections,
            relays,
        }
    }

    /// Closes the WebSockets that the event ends; returns their number.
    fn close_connections(&self, event: &Event) -> usize {
        let close = |room: &str, user: &str, code| {
            usize::from(self.hub.close_for(departure(event, code), room, user, code))
        };
        match event {
            Event::Left { user, room, .. } => close(room, user, CloseCode::NotAParticipant),
            Event::Kicked { user, room, .. } | Event::Banned { user, room, .. } => {
                close(room, user, CloseCode::Removed)
            }
            Event::GuestExpired { user, room, .. } => {
                close(room, user, CloseCode::AuthenticationFailed)
            }
            Event::RoomClosed { room, .. } => self.hub.close_room(room, CloseCode::RoomClosed),
            Event::UserDisabled { user, .. } | Event::UserDeleted { user, .. } => {
                let code = CloseCode::Removed;
                self.hub.close_user(departure(event, code), user, code)
            }
            Event::SignedOut { user, .. } => {
                let code = CloseCode::AuthenticationFailed;
                self.hub.close_user(departure(event, code), user, code)
            }
            Event::RoomOpened { .. }
            | Event::RoomChanged { .. }
            | Event::RoleChanged { .. }
            | Event::MessagePosted { .. }
            | Event::MessageDeleted { .. }
            | Event::Muted { .. }
            | Event::Joined { .. }
            | Event::Unbanned { .. }
            | Event::UserEnabled { .. }
            | Event::AccessLost { .. } => 0,
        }
    }

    /// Updates the relay's list of revoked credentials and ends allocations. The future resolves
    /// with the number of freed allocations.
    fn update_relay(&self, event: &Event, source: &ChangeSource) -> BoxFuture<'static, usize> {
        let relay = &self.relay;
        let ended = RevokedGenerations::ended;
        let left = |user: &str, room: &str, generations, elsewhere| {
            relay
                .left(user, room, generations, elsewhere)
                .count()
                .boxed()
        };
        match event {
            Event::RoomOpened { room } => relay.opened(room),
            Event::Joined {
                user,
                room,
                generation,
            } => relay.joined(user, room, *generation),
            Event::Unbanned {
                user,
                room,
                generation,
            } => relay.unbanned(user, room, *generation),
            Event::UserEnabled { user } => relay.enabled(user),
            Event::Left {
                user,
                room,
                was_member: true,
                elsewhere,
                next_generation,
            }
            | Event::Kicked {
                user,
                room,
                elsewhere,
                next_generation,
            } => return left(user, room, ended(*next_generation), *elsewhere),
            Event::Banned {
                user,
                room,
                elsewhere,
            } => return left(user, room, RevokedGenerations::All, *elsewhere),
            Event::GuestExpired {
                user,
                room,
                next_generation,
            } => return left(user, room, ended(*next_generation), false),
            Event::RoomClosed { room, departures } => {
                let closed = relay.closed(room).count();
                let left = departures.iter().map(|departure| {
                    let generations = ended(departure.next_generation);
                    left(&departure.user, room, generations, departure.elsewhere)
                });
                let counts: Vec<_> = std::iter::once(closed.boxed()).chain(left).collect();
                return join_all(counts)
                    .map(|counts| counts.into_iter().sum())
                    .boxed();
            }
            Event::UserDisabled { user, generation } | Event::UserDeleted { user, generation } => {
                return relay.removed(user, *generation).count().boxed();
            }
            Event::SignedOut { user, generation } => {
                return relay.signed_out(user, *generation).count().boxed();
            }
            // Somebody has deleted the row of the membership or of the room. A join accepts credentials again.
            Event::AccessLost { user, room } if source.has_code(CloseCode::NotAParticipant) => {
                return left(user, room, RevokedGenerations::All, true);
            }
            Event::Left { .. }
            | Event::RoomChanged { .. }
            | Event::RoleChanged { .. }
            | Event::MessagePosted { .. }
            | Event::MessageDeleted { .. }
            | Event::Muted { .. }
            | Event::AccessLost { .. } => {}
        }
        ready(0).boxed()
    }
}

/// The reason that `parlor.v1` clients learn for the end of a connection.
fn departure(event: &Event, code: CloseCode) -> Departure {
    match event {
        Event::Kicked { .. } => Departure::Kicked,
        Event::Banned { .. } => Departure::Banned,
        Event::UserDisabled { .. } | Event::UserDeleted { .. } => Departure::Disabled,
        _ => Departure::by(code),
    }
}

impl Applied {
    /// Waits until the relay has freed the allocations, and logs how much ended. Allocations are
    /// freed even if this is not called.
    pub(super) async fn count(self) -> Ended {
        let ended = Ended {
            connections: self.connections,
            relays: self.relays.await,
        };
        log_ended(&self.event, ended);
        ended
    }
}

/// Logs events that are not counted, and those of another process.
fn log_applied(event: &Event, source: &ChangeSource) {
    match (event, source) {
        (Event::Joined { user, room, .. }, _) => tracing::debug!(user, room, "user joined"),
        (
            Event::Left {
                user,
                room,
                was_member: true,
                ..
            },
            _,
        ) => tracing::debug!(user, room, "user left"),
        (Event::GuestExpired { user, room, .. }, _) => tracing::debug!(user, room, "guest expired"),
        (Event::AccessLost { user, room }, _) => tracing::debug!(user, room, "access lost"),
        (Event::UserEnabled { user }, ChangeSource::ThisProcess) => {
            tracing::info!(user, "user enabled");
        }
        (Event::UserEnabled { user }, ChangeSource::AnotherProcess(_)) => {
            tracing::info!(user, "user enabled by another process");
        }
        (Event::UserDisabled { user, .. }, ChangeSource::AnotherProcess(_)) => {
            tracing::info!(user, "user disabled or deleted by another process");
        }
        (Event::SignedOut { user, .. }, ChangeSource::AnotherProcess(_)) => {
            tracing::info!(user, "user signed out by another process");
        }
        (Event::RoomClosed { room, .. }, ChangeSource::AnotherProcess(_)) => {
            tracing::info!(room, "room closed by another process");
        }
        _ => {}
    }
}

/// Logs what a change of this process ended.
fn log_ended(event: &Event, ended: Ended) {
    let Ended {
        connections,
        relays,
    } = ended;
    match event {
        Event::UserDisabled { user, .. } => {
            tracing::info!(user, connections, relays, "user disabled");
        }
        Event::UserDeleted { user, .. } => {
            tracing::info!(user, connections, relays, "user deleted");
        }
        Event::SignedOut { user, .. } => {
            tracing::info!(user, connections, relays, "user signed out");
        }
        Event::Kicked { user, room, .. } => {
            tracing::info!(user, room, connections, relays, "user kicked");
        }
        Event::Banned { user, room, .. } => {
            tracing::info!(user, room, connections, relays, "user banned");
        }
        Event::RoomClosed { room, departures } => {
            let members = departures.len();
            tracing::info!(room, members, connections, relays, "room closed");
        }
        _ => {}
    }
}
