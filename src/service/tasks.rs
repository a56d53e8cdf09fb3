//! The background tasks of the application.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::app::App;
use super::{expiry, external_changes};
use crate::credential::Revocations;

/// Removes expired guests, and acts on what other processes write to the database, until `shutdown`.
pub async fn run_background_tasks(
    app: Arc<App>,
    revocations: Arc<Revocations>,
    shutdown: CancellationToken,
) {
    tokio::join!(
        expiry::run(app.clone(), shutdown.clone()),
        external_changes::recheck_connections(app.clone(), shutdown),
        external_changes::follow(app, revocations),
    );
}
