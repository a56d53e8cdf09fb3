//! Who the relay refuses: read from the store at start, and again when another process wrote to it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::credential::{Revocations, RevokedSet};
use crate::http::App;
use crate::storage::{EndedMembership, Store, StoreError};

/// How often it is read anew although nothing seems to have changed: guests whom the store has
/// forgotten need not be refused any more.
const SELDOM: Duration = Duration::from_secs(3600);

/// Reads anew what is refused, so that a restart keeps it. Gives the departures, and what was
/// refused before.
pub async fn recall(
    store: &Store,
    revocations: &Revocations,
) -> Result<(Vec<EndedMembership>, RevokedSet), StoreError> {
    let stored = store.revocations(clock::now().unix).await?;
    let pair = |d: &EndedMembership| (d.user.as_str().into(), d.room.as_str().into());
    let refused = RevokedSet {
        users: stored.users.into_iter().map(Box::from).collect(),
        rooms: stored.rooms.into_iter().map(Box::from).collect(),
        memberships: stored.ended_memberships.iter().map(pair).collect(),
        generations: stored
            .generations
            .into_iter()
            .map(|(user, generation)| (user.into(), generation))
            .collect(),
    };
    revocations.add_rooms(refused.rooms.iter().map(|room| &**room));
    revocations.add_rooms(stored.open_rooms.iter().map(String::as_str));
    Ok((stored.ended_memberships, revocations.replace(refused)))
}

/// Acts on what another process (a command of the CLI) wrote: the relays of whoever it disabled or
/// took out of a room, and of the rooms that it closed, end.
pub async fn follow(app: Arc<App>, revocations: Arc<Revocations>) {
    let mut changes = app.store.changes();
    loop {
        let changed = tokio::time::timeout(SELDOM, changes.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
        if let Err(error) = act(&app, &revocations).await {
            tracing::error!(%error, "what another process changed could not be read");
        }
    }
}

async fn act(app: &App, revocations: &Revocations) -> Result<(), StoreError> {
    let _exclusive = app.api.exclusive().await;
    let (departures, before) = recall(&app.store, revocations).await?;
    let now = revocations.snapshot();
    for user in now.users.difference(&before.users) {
        let generation = now.generations.get(user).copied().unwrap_or(0);
        app.relay.removed(user, generation);
        tracing::info!(
            user = &**user,
            "a user was disabled or deleted by another process"
        );
    }
    for (user, generation) in &now.generations {
        let known = before.generations.get(user).unwrap_or(&0);
        if known != generation && !now.users.contains(user) {
            app.relay.signed_out(user, *generation);
            tracing::info!(user = &**user, "user signed out by another process");
        }
    }
    for room in now.rooms.difference(&before.rooms) {
        app.relay.closed(room);
        tracing::info!(room = &**room, "a room was closed by another process");
    }
    for EndedMembership {
        user,
        room,
        elsewhere,
    } in departures
    {
        let pair = (user.as_str().into(), room.as_str().into());
        if !before.memberships.contains(&pair) {
            app.relay.left(&user, &room, elsewhere);
        }
    }
    // Last: a failing read keeps nothing from being done.
    for user in before.users.difference(&now.users) {
        // Guests whom the store has forgotten were enabled by nobody.
        let called = app.store.find_users(user).await?;
        if called.iter().any(|known| *known.id == **user) {
            tracing::info!(user = &**user, "a user was enabled by another process");
        }
    }
    Ok(())
}
