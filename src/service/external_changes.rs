//! Acts on changes that another process committed to the database, such as a command of the CLI.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::admission::check_access;
use super::app::App;
use super::apply::Origin;
use crate::bus::Event;
use crate::clock;
use crate::credential::{Revocations, RevokedSet};
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
    let pair = |d: &EndedMembership| (d.user.as_str().into(), d.room.as_str().into());
    let revoked = RevokedSet {
        users: stored.users.into_iter().map(Box::from).collect(),
        rooms: stored.rooms.into_iter().map(Box::from).collect(),
        memberships: stored.ended_memberships.iter().map(pair).collect(),
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

/// Applies the events that follow from each change of another process.
pub(super) async fn follow(app: Arc<App>, revocations: Arc<Revocations>) {
    let mut changes = app.store.changes();
    loop {
        let changed = tokio::time::timeout(REFRESH_INTERVAL, changes.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
        if let Err(error) = apply_changes(&app, &revocations).await {
            tracing::error!(%error, "reading the changes of another process failed");
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
        !before.memberships.contains(&pair)
    });
    let events = user_events(&before, &now)
        .chain(room_events(&before, &now))
        .chain(departed.map(left));
    for event in events {
        app.apply(event, Origin::AnotherProcess);
    }
    // Last, because a failed read must not prevent the other events.
    for user in before.users.difference(&now.users) {
        // A guest whom the store has deleted was not enabled.
        let found = app.store.find_users(user).await?;
        if found.iter().any(|known| *known.id == **user) {
            let user = user.to_string();
            app.apply(Event::UserEnabled { user }, Origin::AnotherProcess);
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

/// Closes the connections of users who have lost access, whenever another process has written to the
/// store. The store decides the close code of each.
pub(super) async fn recheck_connections(app: Arc<App>, shutdown: CancellationToken) {
    let mut changes = app.store.changes();
    while let Some(Ok(())) = shutdown.run_until_cancelled(changes.changed()).await {
        // Before the list is made: it does not contain users who are connecting just now.
        app.hub.invalidate();
        for (room, users) in app.hub.occupied_rooms() {
            for user in users {
                recheck(&app, &room, &user).await;
            }
        }
    }
}

async fn recheck(app: &App, room: &str, user: &str) {
    // `None` for users who are expected back after a restart.
    let issue = app.hub.issue(room, user);
    match check_access(app, user, room, issue).await {
        // A failure of the server must not disconnect users.
        Ok(()) | Err(CloseCode::ConnectionError) => {}
        // The user may have reconnected with a new token meanwhile.
        Err(CloseCode::AuthenticationFailed) if app.hub.issue(room, user) != issue => {}
        Err(code) => {
            app.hub.close(room, user, code);
        }
    }
}
