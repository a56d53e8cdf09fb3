//! What time brings about: guests whose time has run out leave, and what is long past is forgotten.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::http::App;
use crate::room::CloseCode;
use crate::store::StoreError;

const EVERY: Duration = Duration::from_secs(60);
/// What is kept beyond its time, so that an admin can still look at it.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Sweeps now and every minute, until `shutdown`.
pub async fn sweep(app: Arc<App>, shutdown: CancellationToken) {
    let mut turns = tokio::time::interval(EVERY);
    while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
        if let Err(error) = once(&app, clock::now().unix).await {
            tracing::error!(%error, "expired guests cannot be ended");
        }
    }
}

async fn once(app: &App, unix: u64) -> Result<(), StoreError> {
    let undisturbed = app.api.undisturbed().await;
    for (user, room) in app.store.end_expired_guests(unix).await? {
        app.hub.close(&room, &user, CloseCode::AuthenticationFailed);
        app.relay.left(&user, &room, false);
    }
    drop(undisturbed);
    // Credentials of a user whom the store does not know are accepted, so a guest is not
    // forgotten before the last of theirs has expired.
    let kept = KEPT + app.config.turn.credential_ttl;
    let before = unix.saturating_sub(kept.as_secs());
    app.store.forget_expired(before).await
}
