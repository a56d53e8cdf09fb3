//! What the service manager (systemd, `Type=notify`) is told: that everything listens, how much goes
//! on, that nothing is stuck, that it ends. Without `$NOTIFY_SOCKET` nobody is told anything.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::MissedTickBehavior;

use crate::http::App;
use crate::relay::RelayCollector;

/// How often it is looked how much goes on.
const GLANCE: Duration = Duration::from_secs(5);

/// Everything listens.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Nothing new is taken any more.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells how much goes on when it has changed, and feeds the watchdog (`WatchdogSec=`) while nothing
/// is stuck: three times in the span that it waits.
pub async fn keep_posted(app: Arc<App>, relay: RelayCollector) {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = watchdog_enabled();
    let pace = watchdog.map_or(GLANCE, |span| GLANCE.min(span / 3));
    let mut glances = tokio::time::interval(pace.max(Duration::from_millis(1)));
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    let mut fed = true;
    loop {
        glances.tick().await;
        let status = status(app.in_use(), relay.allocations());
        if status != told {
            tell(&[NotifyState::Status(&status)]);
            told = status;
        }
        if watchdog.is_some() {
            let well = app.answers().await;
            if well {
                tell(&[NotifyState::Watchdog]);
            }
            if well != fed {
                report(well);
            }
            fed = well;
        }
    }
}

fn report(well: bool) {
    match well {
        true => tracing::info!("the store and the relay answer again"),
        false => tracing::error!(
            "the store or a shard of the relay does not answer: the service manager's watchdog is \
             no longer fed"
        ),
    }
}

fn status((rooms, participants): (i64, i64), allocations: u64) -> String {
    format!("{rooms} rooms, {participants} participants, {allocations} allocations")
}

/// A manager that does not listen is no reason to serve nobody.
fn tell(state: &[NotifyState]) {
    if let Err(error) = notify(state) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}
