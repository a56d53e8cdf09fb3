//! Emptying a daemon: nobody new comes in, who is connected is sent away one after the other, so that
//! the next server is not asked by all at once, and calls finish.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use crate::http::App;
use crate::room::CloseCode;

/// How often it is looked whether anything is left.
const GLANCE: Duration = Duration::from_millis(50);

/// Somebody who is to be closed.
struct Departure {
    at: Instant,
    room: Arc<str>,
    user: Arc<str>,
}

/// Ends when nobody is connected and nothing is relayed, at the latest after `span`.
pub async fn run(app: &App, span: Duration) -> anyhow::Result<()> {
    let begin = Instant::now();
    app.drain();
    let mut departures = departures(app, begin, span)?;
    let connections = departures.len();
    let relays = app.relay.allocations();
    tracing::info!(connections, relays, seconds = span.as_secs(), "draining");
    loop {
        let now = Instant::now();
        while let Some(gone) = departures.pop_if(|one| one.at <= now) {
            app.hub.close(&gone.room, &gone.user, CloseCode::Restarting);
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

/// Everybody who is connected, the last to go first.
fn departures(app: &App, begin: Instant, span: Duration) -> anyhow::Result<Vec<Departure>> {
    let everybody = app.hub.everybody().into_iter();
    let seats = everybody.flat_map(|(room, users)| {
        let seats = users.into_iter().map(move |user| (room.clone(), user));
        seats.collect::<Vec<_>>()
    });
    let random = SystemRandom::new();
    let departure = |(room, user)| {
        let mut bytes = [0; 4];
        random.fill(&mut bytes).ok()?;
        let share = f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX);
        let at = begin + span.mul_f64(share);
        Some(Departure { at, room, user })
    };
    let departures: Option<Vec<_>> = seats.map(departure).collect();
    let mut departures = departures.context("the system gives no random bytes")?;
    departures.sort_by_key(|one| Reverse(one.at));
    Ok(departures)
}
