//! What the service manager (systemd, `Type=notify`) is told: that everything listens, how much goes
//! on, that nothing is stuck, that it ends. Without `$NOTIFY_SOCKET` nobody is told anything.

use std::env;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::http::App;
use crate::relay::RelayCollector;

use super::notify::Manager;

/// How often it is looked how much goes on.
const GLANCE: Duration = Duration::from_secs(5);

/// Everything listens.
pub fn ready() {
    tell("READY=1");
}

/// Nothing new is taken any more.
pub fn stopping() {
    tell("STOPPING=1");
}

/// Tells how much goes on when it has changed, and feeds the watchdog (`WatchdogSec=`) while nothing
/// is stuck: three times in the span that it waits.
pub async fn keep_posted(app: Arc<App>, relay: RelayCollector) {
    // An unreachable service manager was logged at the start.
    let Ok(Some(manager)) = Manager::of_process() else {
        return;
    };
    let tell = |state: &str| warn(manager.tell_at_once(state));
    let watchdog = watchdog();
    let pace = watchdog.map_or(GLANCE, |span| GLANCE.min(span / 3));
    let mut glances = tokio::time::interval(pace.max(Duration::from_millis(1)));
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    let mut fed = true;
    loop {
        glances.tick().await;
        let status = status(app.in_use(), relay.allocations());
        if status != told {
            tell(&format!("STATUS={status}"));
            told = status;
        }
        if watchdog.is_some() {
            let well = app.answers().await;
            if well {
                tell("WATCHDOG=1");
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

/// The watchdog interval of the service manager, if it has one.
fn watchdog() -> Option<Duration> {
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = env::var_os("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(std::process::id().into());
    let span = number("WATCHDOG_USEC").filter(|span| *span > 0 && is_ours);
    span.map(Duration::from_micros)
}

fn tell(state: &str) {
    match Manager::of_process() {
        Ok(Some(manager)) => warn(manager.tell(state)),
        Ok(None) => {}
        Err(error) => warn(Err(error)),
    }
}

/// A manager that does not listen is no reason to serve nobody.
fn warn(told: io::Result<()>) {
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager can't be told");
    }
}
