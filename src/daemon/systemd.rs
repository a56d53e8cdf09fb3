//! Notifications to the service manager (systemd, `Type=notify`): ready, usage, watchdog, stopping. Without
//! `$NOTIFY_SOCKET`, nothing is sent.

use std::env;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::plural::counted;
use crate::relay::RelayCollector;
use crate::service::App;

use super::notify::NotifySocket;

/// Interval between two status updates.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Reports that all listeners are open.
pub(super) fn ready() {
    notify("READY=1");
}

/// Reports that the server is stopping.
pub(super) fn stopping() {
    notify("STOPPING=1");
}

/// Reports changes of the usage, and feeds the watchdog (`WatchdogSec=`) three times per interval while the
/// database and the relay respond.
pub(super) async fn report_status(app: Arc<App>, relay: RelayCollector) {
    // An unreachable service manager was logged at the start.
    let Ok(Some(socket)) = NotifySocket::of_process() else {
        return;
    };
    let notify = |state: &str| log_failure(socket.notify_nonblocking(state));
    let watchdog = watchdog();
    let interval = watchdog.map_or(STATUS_INTERVAL, |span| STATUS_INTERVAL.min(span / 3));
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_status = String::new();
    let mut was_healthy = true;
    loop {
        ticks.tick().await;
        let status = status(app.usage(), relay.allocations());
        if status != last_status {
            notify(&format!("STATUS={status}"));
            last_status = status;
        }
        if watchdog.is_some() {
            let healthy = app.is_responsive().await;
            if healthy {
                notify("WATCHDOG=1");
            }
            if healthy != was_healthy {
                log_watchdog(healthy);
            }
            was_healthy = healthy;
        }
    }
}

fn log_watchdog(healthy: bool) {
    if healthy {
        tracing::info!("watchdog fed again: the database and the relay respond");
    } else {
        tracing::error!("watchdog not fed: the database or a relay shard does not respond");
    }
}

fn status((rooms, participants): (i64, i64), allocations: u64) -> String {
    let rooms = counted(rooms, "room");
    let participants = counted(participants, "participant");
    let allocations = counted(allocations, "allocation");
    format!("{rooms}, {participants}, {allocations}")
}

/// The watchdog interval of the service manager, if it has one.
fn watchdog() -> Option<Duration> {
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = env::var_os("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(std::process::id().into());
    let span = number("WATCHDOG_USEC").filter(|span| *span > 0 && is_ours);
    span.map(Duration::from_micros)
}

fn notify(state: &str) {
    match NotifySocket::of_process() {
        Ok(Some(socket)) => log_failure(socket.notify(state)),
        Ok(None) => {}
        Err(error) => log_failure(Err(error)),
    }
}

/// Logs a failed notification; the server continues without the service manager.
fn log_failure(last_status: io::Result<()>) {
    if let Err(error) = last_status {
        tracing::warn!(%error, "service manager notification failed");
    }
}
