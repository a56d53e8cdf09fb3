//! Changed roles, which `parlor.v1` clients see at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::app::App;
use crate::clock;
use crate::room::Role;
use crate::storage::{Room, StoreError, User};

/// The pause before the store is asked again after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Reads changed roles from the store, and tells the rooms, until `shutdown`.
pub(super) async fn follow(app: Arc<App>, shutdown: CancellationToken) {
    let work = async {
        loop {
            let changed = app.hub.role_changes.take().await;
            for (room, users) in changed {
                while update(&app, &room, &users).await.is_err() {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

async fn update(app: &App, room: &str, users: &BTreeSet<String>) -> Result<(), StoreError> {
    for user in users {
        let admission = app.store.admission(room, user, clock::now().unix).await?;
        if let (Some(account), Some(of)) = (&admission.user, &admission.room) {
            let role = role(account, Some(of), admission.moderator);
            app.hub.set_role(room, user, role);
        }
    }
    Ok(())
}

/// The role of a user in a room.
pub(super) fn role(user: &User, room: Option<&Room>, is_moderator: bool) -> Role {
    let owner = room.and_then(|room| room.owner_id.as_ref());
    match &user.guest {
        Some(_) => Role::Guest,
        None if user.admin || owner == Some(&user.id) => Role::Owner,
        None if is_moderator => Role::Moderator,
        None => Role::Member,
    }
}
