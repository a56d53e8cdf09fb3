//! The background tasks of the application.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::{
    cluster, expiry, external_changes, issuer_keys, live_updates, quality, redis_watch,
    relay_placement, retention, role_updates,
};
use crate::credential::Revocations;

/// Removes expired guests and deleted text, acts on what other processes write to the database, and answers other nodes, until `shutdown`
/// or until the caller drops the future. Each task runs by itself: a panic ends no other.
pub async fn run_background_tasks(
    app: Arc<App>,
    revocations: Arc<Revocations>,
    shutdown: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    tasks.spawn(expiry::run(app.clone(), shutdown.clone()));
    tasks.spawn(issuer_keys::follow(
        app.issuer_keys.clone(),
        shutdown.clone(),
    ));
    tasks.spawn(retention::run(app.clone(), shutdown.clone()));
    tasks.spawn(cluster::serve(
        app.clone(),
        revocations.clone(),
        shutdown.clone(),
    ));
    tasks.spawn(redis_watch::follow(app.clone(), shutdown.clone()));
    tasks.spawn(relay_placement::follow(app.clone(), shutdown.clone()));
    tasks.spawn(live_updates::follow(app.clone(), shutdown.clone()));
    tasks.spawn(quality::follow_paths(app.clone(), shutdown.clone()));
    tasks.spawn(quality::follow_links(app.clone(), shutdown.clone()));
    tasks.spawn(role_updates::follow(app.clone(), shutdown.clone()));
    tasks.spawn(external_changes::follow(app, revocations, shutdown));
    while tasks.join_next().await.is_some() {}
}
