//! Applies changes that another process committed to the database, such as a command of the CLI.
//!
//! The events are the differences between the revocations in the store and the known ones. Then every
//! connection is checked, for changes that no revocation shows.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::admission::check_access;
use super::app::App;
use super::apply::{ChangeSource, LostAccess};
use super::hub::Hub;
use crate::bus::Event;
use crate::clock;
use crate::credential::{Revocations, RevokedGenerations, RevokedSet};
use crate::room::CloseCode;
use crate::storage::{EndedMembership, Store, StoreError};

/// The list of revocations is also read at this interval, to drop guests that the store has deleted.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);

/// Loads the revocations from the store into the relay's list, so that a restart keeps them. Returns
/// the departures, and the previous revocations.
pub async fn load_revocations(
    store: &Store,
    revocations: &Revocations,
) -> Result<(Vec<EndedMembership>, RevokedSet), StoreError> {
    let stored = store.revocations(clock::now().unix).await?;
    let ended = stored.ended_memberships.iter().map(|ended| {
        let pair = (ended.user.as_str().into(), ended.room.as_str().into());
        (pair, RevokedGenerations::All)
    });
    let later = stored.later_memberships.into_iter();
    let later = later.map(|(user, room, generation)| {
        let pair = (user.into(), room.into());
        (pair, RevokedGenerations::Before(generation))
    });
    // A banned user may still have a membership: the ban is the last word.
    let memberships = later.chain(ended).collect();
    let revoked = RevokedSet {
        users: stored.users.into_iter().map(Box::from).collect(),
        rooms: stored.rooms.into_iter().map(Box::from).collect(),
        memberships,
        generations: stored
            .generations
            .into_iter()
            .map(|(user, generation)| (user.into(), generation))
            .collect(),
    };
    revocations.add_rooms(revoked.rooms.iter().map(|room| &**room));
    revocations.add_rooms(stored.open_rooms.iter().map(String::as_str));
    Ok((stored.ended_memberships, revocations.replace(revoked)))
}

/// Applies the events that follow from each change of another process, until the store closes. After
/// `shutdown` no connection is checked.
pub(super) async fn follow(
    app: Arc<App>,
    revocations: Arc<Revocations>,
    shutdown: CancellationToken,
) {
    let mut changes = app.store.changes();
    loop {
        let changed = tokio::time::timeout(REFRESH_INTERVAL, changes.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
        // Before any list of connections: a user who is connecting just now is in none.
        app.hub.invalidate();
        if let Err(error) = apply_changes(&app, &revocations).await {
            tracing::error!(%error, "reading the changes of another process failed");
        }
        if changed.is_ok() {
            // The future is dropped at the shutdown, which closes every connection.
            let _ = shutdown.run_until_cancelled(check_connections(&app)).await;
        }
    }
}

/// Compares the store's revocations with the known ones, and applies the differences as events.
async fn apply_changes(app: &App, revocations: &Revocations) -> Result<(), StoreError> {
    let _exclusive = app.order.exclusive().await;
    let (departures, before) = load_revocations(&app.store, revocations).await?;
    let now = revocations.snapshot();
    let departed = departures.iter().filter(|departure| {
        let pair = (
            departure.user.as_str().into(),
            departure.room.as_str().into(),
        );
        before.memberships.get(&pair) != Some(&RevokedGenerations::All)
    });
    let events: Vec<_> = user_events(&before, &now)
        .chain(room_events(&before, &now))
        .chain(departed.map(left))
        .collect();
    for event in events {
        let lost = lost_access_of(app, &event).await;
        app.apply(event, ChangeSource::AnotherProcess(lost));
    }
    // Last, because a failed read must not prevent the other events.
    for user in before.users.difference(&now.users) {
        // A guest whom the store has deleted was not enabled.
        let found = app.store.find_users(user).await?;
        if found.iter().any(|known| *known.id == **user) {
            let user = user.to_string();
            let source = ChangeSource::AnotherProcess(Vec::new());
            app.apply(Event::UserEnabled { user }, source);
        }
    }
    Ok(())
}

/// Users who were disabled, deleted or signed out.
fn user_events<'a>(
    before: &'a RevokedSet,
    now: &'a RevokedSet,
) -> impl Iterator<Item = Event> + 'a {
    let removed = now
        .users
        .difference(&before.users)
        .map(|user| Event::UserDisabled {
            user: user.to_string(),
            generation: now.generations.get(user).copied().unwrap_or(0),
        });
    let signed_out = now.generations.iter().filter(|(user, generation)| {
        let known = before.generations.get(*user).unwrap_or(&0);
        known != *generation && !now.users.contains(*user)
    });
    removed.chain(signed_out.map(|(user, generation)| Event::SignedOut {
        user: user.to_string(),
        generation: *generation,
    }))
}

/// Rooms that were closed; their departures are events of their own.
fn room_events<'a>(
    before: &'a RevokedSet,
    now: &'a RevokedSet,
) -> impl Iterator<Item = Event> + 'a {
    let closed = now.rooms.difference(&before.rooms);
    closed.map(|room| Event::RoomClosed {
        room: room.to_string(),
        departures: Vec::new(),
    })
}

fn left(departure: &EndedMembership) -> Event {
    Event::Left {
        user: departure.user.clone(),
        room: departure.room.clone(),
        was_member: true,
        elsewhere: departure.elsewhere,
    }
}

/// Returns the connections of an event's users and rooms that have lost access.
async fn lost_access_of(app: &App, event: &Event) -> Vec<LostAccess> {
    let mut lost = Vec::new();
    for (room, user) in connections_of(&app.hub, event) {
        if let Some(code) = lost_access(app, &room, &user).await {
            lost.push(LostAccess { room, user, code });
        }
    }
    lost
}

/// Returns the connections that an event may end, as (room, user).
fn connections_of(hub: &Hub, event: &Event) -> Vec<(Arc<str>, Arc<str>)> {
    match event {
        Event::Left { user, room, .. } if hub.is_connected(room, user) => {
            vec![(room.as_str().into(), user.as_str().into())]
        }
        Event::RoomClosed { room, .. } => {
            let users = hub.connected(room).into_iter();
            users.map(|user| (room.as_str().into(), user)).collect()
        }
        Event::UserDisabled { user, .. } | Event::SignedOut { user, .. } => {
            let rooms = hub.rooms_of(user).into_iter();
            rooms.map(|room| (room, user.as_str().into())).collect()
        }
        _ => Vec::new(),
    }
}

/// Checks every connection, and applies an event for each that has lost access otherwise than by the
/// events of [`apply_changes`]: somebody may have written any SQL.
async fn check_connections(app: &App) {
    for (room, users) in app.hub.occupied_rooms() {
        for user in users {
            if lost_access(app, &room, &user).await.is_some() {
                end_access(app, room.clone(), user).await;
            }
        }
    }
}

/// Applies the event of a user who has lost access to a room.
async fn end_access(app: &App, room: Arc<str>, user: Arc<str>) {
    let _ordered = app.order.of_user(&user).await;
    // Again: the user may have joined the room before the lock was taken.
    let Some(code) = lost_access(app, &room, &user).await else {
        return;
    };
    let event = Event::AccessLost {
        user: user.to_string(),
        room: room.to_string(),
    };
    let lost = vec![LostAccess { room, user, code }];
    app.apply(event, ChangeSource::AnotherProcess(lost));
}

/// Returns the close code if a connected user may no longer be in a room. The store decides.
async fn lost_access(app: &App, room: &str, user: &str) -> Option<CloseCode> {
    // `None` for users who are expected back after a restart.
    let issue = app.hub.issue(room, user);
    match check_access(app, user, room, issue).await {
        // A failure of the server must not disconnect users.
        Ok(()) | Err(CloseCode::ConnectionError) => None,
        // The user may have reconnected with a new token meanwhile.
        Err(CloseCode::AuthenticationFailed) if app.hub.issue(room, user) != issue => None,
        Err(code) => Some(code),
    }
}
