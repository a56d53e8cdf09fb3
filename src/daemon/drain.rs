//! Emptying a daemon: nobody new comes in, who is connected is sent away one after the other, so that
//! the next server is not asked by all at once, and calls finish.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

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
pub async fn run(app: &App, span: Duration) -> anyhow::Result<()> {
    let begin = Instant::now();
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
        if (connections == 0 && relays == 0) || now >= begin + span {
            tracing::info!(connections, relays, "drained");
            return Ok(());
        }
        tokio::time::sleep(GLANCE.min(begin + span - now)).await;
    }
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
