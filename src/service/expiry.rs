//! Periodic cleanup: removes guests whose time is over or who were absent for long, and deletes old
//! records. Each of several nodes does it, because it can be repeated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::app::App;
use super::apply::ChangeSource;
use crate::bus::Event;
use crate::bus::redis::Link;
use crate::clock::{self, Mono, Now};
use crate::storage::StoreError;

/// The interval of the cleanup; shorter if `rooms.guest_grace_period` is short.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Expired guests are kept for this long, so that an admin can still look at them.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// The shortest absence that counts with several nodes, in leases: a node whose members Redis has lost restates them
/// within a lease.
const MIN_ABSENCE_LEASES: u32 = 2;
/// Guests whom one question to Redis names.
const MAX_ASKED: usize = 1000;

/// Guests who are members but not connected, as (user, room), and since when that is known.
type AbsentGuests = HashMap<(String, String), Mono>;

/// Cleans up at an interval until `shutdown`.
pub(super) async fn run(app: Arc<App>, shutdown: CancellationToken) {
    let mut absent = AbsentGuests::new();
    loop {
        let now = clock::now();
        if let Err(error) = run_once(&app, now, &mut absent).await {
            tracing::error!(%error, "periodic cleanup failed");
        }
        let pause = tokio::time::sleep(interval(app.settings().config.rooms.guest_grace_period));
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

fn interval(absence: Duration) -> Duration {
    if absence.is_zero() {
        return MAX_INTERVAL;
    }
    (absence / 4).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

async fn run_once(app: &App, now: Now, absent: &mut AbsentGuests) -> Result<(), StoreError> {
    end_expired(app, now.unix).await?;
    let config = &app.settings().config;
    let absence = config.rooms.guest_grace_period;
    // During a drain, disconnected users are still in their calls.
    if !absence.is_zero() && !app.is_draining() {
        remove_absent_guests(app, now, absence, absent).await?;
    }
    // The relay accepts credentials of users whom the store does not know, so a guest stays in the
    // store until their last credential has expired.
    let retention = RETENTION + config.turn.credential_ttl;
    let before = now.unix.saturating_sub(retention.as_secs());
    app.store.delete_expired(before).await
}

async fn end_expired(app: &App, unix: u64) -> Result<(), StoreError> {
    let _exclusive = app.order.exclusive().await;
    for ended in app.store.end_expired_guests(unix).await? {
        let event = Event::GuestExpired {
            user: ended.user,
            room: ended.room,
            next_generation: ended.next_generation,
        };
        app.apply(event, ChangeSource::ThisProcess);
    }
    Ok(())
}

/// Removes guests who were not connected for `absence`. A closed browser tab sends nothing, so it
/// would occupy a place in a full room.
async fn remove_absent_guests(
    app: &App,
    now: Now,
    absence: Duration,
    absent: &mut AbsentGuests,
) -> Result<(), StoreError> {
    let _exclusive = app.order.exclusive().await;
    let mut still_absent = AbsentGuests::new();
    let mut guests = app.store.guest_memberships().await?;
    guests.retain(|(user, room)| !app.hub.is_connected(room, user));
    let mut absence = absence;
    if let Some(link) = app.hub.link() {
        let Some(unlisted) = retain_unlisted(link, guests).await else {
            // Nobody knows who is connected to other nodes, so each absence counts anew afterwards.
            absent.clear();
            return Ok(());
        };
        guests = unlisted;
        absence = absence.max(app.settings().config.cluster.lease * MIN_ABSENCE_LEASES);
    }
    for guest in guests {
        let since = absent.get(&guest).copied().unwrap_or(now.mono);
        if now.mono.since(since) < absence {
            still_absent.insert(guest, since);
            continue;
        }
        let (user, room) = guest;
        let left = app.store.leave(&room, &user, now.unix).await?;
        tracing::debug!(user, room, "absent guest removed");
        // This also closes a connection that was admitted just before the commit.
        let event = Event::Left {
            user,
            room,
            was_member: true,
            elsewhere: false,
            next_generation: left.next_generation,
        };
        app.apply(event, ChangeSource::ThisProcess);
    }
    *absent = still_absent;
    Ok(())
}

/// Returns the guests, as (user, room), who are not connected to any node; `None` while that is unknown.
async fn retain_unlisted(
    link: &Link,
    guests: Vec<(String, String)>,
) -> Option<Vec<(String, String)>> {
    let mut unlisted = Vec::new();
    for chunk in guests.chunks(MAX_ASKED) {
        let users = chunk.iter().map(|(user, room)| (&**room, &**user));
        let listed = link.are_members(&users.collect::<Vec<_>>()).await?;
        let chunk = chunk.iter().zip(listed);
        unlisted.extend(
            chunk
                .filter(|(_, listed)| !listed)
                .map(|(guest, _)| guest.clone()),
        );
    }
    Some(unlisted)
}
