//! Draining the server: it rejects new users, lets calls finish, and closes the connections of each room at
//! a random time, so that clients do not all reconnect at once.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin::DrainProgress;
use crate::service::App;

/// Interval for checking whether connections or relays are left.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A room whose connections are closed at the same time and without `user-left` messages, so that no client
/// ends its call with another.
struct ScheduledClose {
    at: Instant,
    room: Arc<str>,
}

/// Returns when no connection and no relay is left, at the latest after `timeout`.
pub(super) async fn run(
    app: &App,
    started: Instant,
    timeout: Duration,
    progress: &watch::Sender<Option<DrainProgress>>,
) -> anyhow::Result<()> {
    app.drain();
    let mut schedule = schedule(app, started, timeout)?;
    let (_, connections) = app.usage();
    let relays = app.relay.allocations();
    tracing::info!(connections, relays, seconds = timeout.as_secs(), "draining");
    loop {
        let now = Instant::now();
        while let Some(gone) = schedule.pop_if(|one| one.at <= now) {
            app.hub.close_for_drain(&gone.room);
        }
        let (_, connections) = app.usage();
        let relays = app.relay.allocations();
        publish(app, started, None, progress);
        if (connections == 0 && relays == 0) || now >= started + timeout {
            tracing::info!(connections, relays, "drained");
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL.min(started + timeout - now)).await;
    }
}

/// Reports the progress of a drain to the command that began it.
pub(super) fn publish(
    app: &App,
    started: Instant,
    interrupted: Option<u64>,
    progress: &watch::Sender<Option<DrainProgress>>,
) {
    let (_, connections) = app.usage();
    let now = DrainProgress {
        connections: u64::try_from(connections).unwrap_or(0),
        relays: app.relay.allocations() as u64,
        seconds: started.elapsed().as_secs(),
        interrupted,
    };
    progress.send_if_modified(|known| known.replace(now) != Some(now));
}

/// Returns all rooms in use, the last to close first.
fn schedule(app: &App, started: Instant, timeout: Duration) -> anyhow::Result<Vec<ScheduledClose>> {
    let random = SystemRandom::new();
    let scheduled = |(room, _)| {
        let mut bytes = [0; 4];
        random.fill(&mut bytes).ok()?;
        let share = f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX);
        let at = started + timeout.mul_f64(share);
        Some(ScheduledClose { at, room })
    };
    let schedule: Option<Vec<_>> = app
        .hub
        .occupied_rooms()
        .into_iter()
        .map(scheduled)
        .collect();
    let mut schedule = schedule.context("the system provides no random bytes")?;
    schedule.sort_by_key(|one| Reverse(one.at));
    Ok(schedule)
}
