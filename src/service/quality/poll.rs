//! The poll of the relay's measurements, and what follows from them: frames for rooms, histograms, and the addresses
//! for reports of clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::frames::{KnownLinks, LinkReport};
use super::links;
use crate::config::QualityMode;
use crate::service::app::App;
use crate::service::cluster::protocol::NodeRequest;
use crate::service::hub::Hub;

/// The shortest time between two frames of a room.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Of these polls, one is observed by the histograms.
const POLLS_PER_OBSERVATION: u64 = 5;

/// Polls the relay, until `shutdown`.
pub(in crate::service) async fn follow_links(app: Arc<App>, shutdown: CancellationToken) {
    let work = async {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = KnownLinks::default();
        for number in 0u64.. {
            ticks.tick().await;
            app.pass_on_reports();
            poll(&app, number, &mut known).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

async fn poll(app: &App, number: u64, known: &mut KnownLinks) {
    let is_on = app.settings().config.turn.quality == QualityMode::On;
    let has_receivers = app.hub.link().is_some() || app.hub.has_extended();
    let is_observed = number.is_multiple_of(POLLS_PER_OBSERVATION);
    let sessions = if is_on && app.relay.allocations() > 0 && (has_receivers || is_observed) {
        app.relay.sessions().await
    } else {
        Vec::new()
    };
    let quality = &app.hub.quality;
    if is_observed {
        quality.histograms.observe(&sessions);
    }
    if !has_receivers {
        quality.relayed.clear();
        *known = KnownLinks::default();
        return;
    }
    for (room, links) in known.update(&links::by_room(&sessions)) {
        app.hub.send_quality(&room, &links);
        if app.hub.link().is_some() {
            app.notify_nodes(&NodeRequest::Quality { room, links });
        }
    }
    quality.relayed.replace(sessions);
}

impl Hub {
    /// Sends links to the `parlor.v1` clients of a room.
    pub(in crate::service) fn send_quality(&self, room: &str, links: &[LinkReport]) {
        let links = serde_json::to_string(links).unwrap_or_default();
        self.send_links(room, &links);
    }
}
