//! Overwrites deleted messages in the files of the store, once a minute.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::app::App;

const INTERVAL: Duration = Duration::from_secs(60);

/// Runs at the start, and at an interval until `shutdown`.
pub(super) async fn run(app: Arc<App>, shutdown: CancellationToken) {
    loop {
        if let Err(error) = app.store.overwrite_deleted().await {
            tracing::error!(%error, "deleting old messages failed");
        }
        let pause = tokio::time::sleep(INTERVAL);
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}
