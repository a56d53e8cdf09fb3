//! Emptying a daemon: nobody new comes in, who is connected is sent away one after the other, so that
//! the next server is not asked by all at once, and calls finish.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin::DrainProgress;
use crate::http::App;

/// How often it is looked whether anything is left.
const GLANCE: Duration = Duration::from_millis(50);

/// A room whose connections are to be closed: all at once, and without a word to each other, so
/// that nobody takes anybody for gone and ends their call.
struct Departure {
    at: Instant,
    room: Arc<str>,
}

/// Ends when nobody is connected and nothing is relayed, at the latest after `span`.
pub async fn run(
    app: &App,
    begin: Instant,
    span: Duration,
    progress: &watch::Sender<Option<DrainProgress>>,
) -> anyhow::Result<()> {
    app.drain();
    let mut departures = departures(app, begin, span)?;
    let (_, connections) = app.in_use();
    let relays = app.relay.allocations();
    tracing::info!(connections, relays, seconds = span.as_secs(), "draining");
    loop {
        let now = Instant::now();
        while let Some(gone) = departures.pop_if(|one| one.at <= now) {
            app.hub.send_away(&gone.room);
        }
        let (_, connections) = app.in_use();
        let relays = app.relay.allocations();
        publish(app, begin, None, progress);
        if (connections == 0 && relays == 0) || now >= begin + span {
            tracing::info!(connections, relays, "drained");
            return Ok(());
        }
        tokio::time::sleep(GLANCE.min(begin + span - now)).await;
    }
}

/// Reports the progress of a drain to the command that began it.
pub fn publish(
    app: &App,
    begin: Instant,
    cut_off: Option<u64>,
    progress: &watch::Sender<Option<DrainProgress>>,
) {
    let (_, connections) = app.in_use();
    let now = DrainProgress {
        connections: u64::try_from(connections).unwrap_or(0),
        relays: app.relay.allocations() as u64,
        seconds: begin.elapsed().as_secs(),
        cut_off,
    };
    progress.send_if_modified(|known| known.replace(now) != Some(now));
}

/// Every room in use, the last to go first.
fn departures(app: &App, begin: Instant, span: Duration) -> anyhow::Result<Vec<Departure>> {
    let random = SystemRandom::new();
    let departure = |(room, _)| {
        let mut bytes = [0; 4];
        random.fill(&mut bytes).ok()?;
        let share = f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX);
        let at = begin + span.mul_f64(share);
        Some(Departure { at, room })
    };
    let departures: Option<Vec<_>> = app.hub.everybody().into_iter().map(departure).collect();
    let mut departures = departures.context("the system gives no random bytes")?;
    departures.sort_by_key(|one| Reverse(one.at));
    Ok(departures)
}
