//! Deletes messages that are older than `rooms.message_retention`, and overwrites deleted text in the files of the
//! store. Each of several nodes does it, because it can be repeated.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::app::App;
use crate::clock;
use crate::storage::StoreError;

const INTERVAL: Duration = Duration::from_secs(60);
/// The writes that delete messages in one interval, with a pause after each, so that other writes are not delayed.
const MAX_BATCHES: u32 = 200;
const BATCH_PAUSE: Duration = Duration::from_millis(50);

/// Runs at the start, and at an interval until `shutdown`.
pub(super) async fn run(app: Arc<App>, shutdown: CancellationToken) {
    loop {
        match shutdown.run_until_cancelled(run_once(&app)).await {
            None => return,
            Some(Err(error)) => tracing::error!(%error, "deleting old messages failed"),
            Some(Ok(())) => {}
        }
        let pause = tokio::time::sleep(INTERVAL);
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn run_once(app: &App) -> Result<(), StoreError> {
    let retention = app.settings().config.rooms.message_retention;
    if !retention.is_zero() {
        let before = clock::now().unix.saturating_sub(retention.as_secs());
        for _ in 0..MAX_BATCHES {
            if !app.store.delete_old_messages(before).await? {
                break;
            }
            tokio::time::sleep(BATCH_PAUSE).await;
        }
    }
    app.store.overwrite_deleted().await
}

#[cfg(test)]
mod tests;
