//! What time brings about: guests whose time has run out leave, so do those who have long been away,
//! and what is long past is forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{self, Mono, Now};
use crate::http::App;
use crate::room::CloseCode;
use crate::storage::StoreError;

/// As often as this, or as a short `rooms.guest_absence` asks for.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// What is kept beyond its time, so that an admin can still look at it.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Guests who hold a seat and are not connected, and since when that is known.
type AbsentGuests = HashMap<(String, String), Mono>;

/// Sweeps now and again and again, until `shutdown`.
pub async fn run(app: Arc<App>, shutdown: CancellationToken) {
    let mut absent = AbsentGuests::new();
    loop {
        let now = clock::now();
        if let Err(error) = run_once(&app, now, &mut absent).await {
            tracing::error!(%error, "guests who are gone cannot be taken out of their rooms");
        }
        let pause = tokio::time::sleep(interval(app.settings().config.rooms.guest_absence));
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

fn interval(absence: Duration) -> Duration {
    match absence.is_zero() {
        true => MAX_INTERVAL,
        false => (absence / 4).clamp(MIN_INTERVAL, MAX_INTERVAL),
    }
}

async fn run_once(app: &App, now: Now, absent: &mut AbsentGuests) -> Result<(), StoreError> {
    end_expired(app, now.unix).await?;
    let config = &app.settings().config;
    let absence = config.rooms.guest_absence;
    // Who is sent away by a drain is away, and in a call.
    if !absence.is_zero() && !app.hub.is_draining() {
        remove_absent_guests(app, now, absence, absent).await?;
    }
    // Credentials of a user whom the store does not know are accepted, so a guest is not
    // forgotten before the last of theirs has expired.
    let retention = RETENTION + config.turn.credential_ttl;
    let before = now.unix.saturating_sub(retention.as_secs());
    app.store.delete_expired(before).await
}

async fn end_expired(app: &App, unix: u64) -> Result<(), StoreError> {
    let _exclusive = app.api.exclusive().await;
    for (user, room) in app.store.end_expired_guests(unix).await? {
        app.hub.close(&room, &user, CloseCode::AuthenticationFailed);
        app.relay.left(&user, &room, false);
    }
    Ok(())
}

/// A tab that was closed says nothing: without this, its seat in a full room would stay taken.
async fn remove_absent_guests(
    app: &App,
    now: Now,
    absence: Duration,
    absent: &mut AbsentGuests,
) -> Result<(), StoreError> {
    let _exclusive = app.api.exclusive().await;
    let mut still = AbsentGuests::new();
    for (user, room) in app.store.guest_memberships().await? {
        if app.hub.is_connected(&room, &user) {
            continue;
        }
        let seat = (user, room);
        let since = absent.get(&seat).copied().unwrap_or(now.mono);
        if now.mono.since(since) < absence {
            still.insert(seat, since);
            continue;
        }
        let (user, room) = seat;
        app.store.leave(&room, &user, now.unix).await?;
        // Who came back just now was let in by what is no longer true.
        app.hub.close(&room, &user, CloseCode::NotAParticipant);
        app.relay.left(&user, &room, false);
        tracing::debug!(user, room, "a guest was away for long: their seat is free");
    }
    *absent = still;
    Ok(())
}
