//! Hints to clients whose path to the relay has died in the middle of a call, or is back.
//!
//! A hint helps only at once, so none is kept for a client without a connection, and hints that a slow reader of the
//! relay's reports misses are not repeated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::service::app::App;
use crate::service::cluster::protocol::{NodeRequest, PathHint};
use crate::service::hub::Hub;
use crate::turn::PathChange;

/// Hints that are passed on together. Their names are that of TURN credentials, of at most 508 bytes.
const MAX_HINTS: usize = 64;
/// The pause after the hints of a batch, which may visit all rooms.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends the relay's reports to the clients concerned, on all nodes, until `shutdown`.
pub(in crate::service) async fn follow_paths(app: Arc<App>, shutdown: CancellationToken) {
    let Some(mut changes) = app.relay.path_changes() else {
        return;
    };
    let work = async {
        while let Some(batch) = next_batch(&mut changes).await {
            let elsewhere = app.hub.send_path_hints(batch);
            if !elsewhere.is_empty() {
                app.notify_nodes(&NodeRequest::PathChanges(elsewhere));
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Waits for a change, and returns it with those that came meanwhile; `None` after the end of the relay.
async fn next_batch(changes: &mut Receiver<PathChange>) -> Option<Vec<PathHint>> {
    let first = loop {
        match changes.recv().await {
            Ok(change) => break change,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    };
    let mut batch = vec![hint(first)];
    while batch.len() < MAX_HINTS
        && let Ok(change) = changes.try_recv()
    {
        batch.push(hint(change));
    }
    Some(batch)
}

fn hint(change: PathChange) -> PathHint {
    PathHint {
        user: change.user,
        room: change.room,
        is_lost: change.is_lost,
    }
}

impl Hub {
    /// Sends hints to clients of this node. Returns those that may concern clients of other nodes.
    pub(in crate::service) fn send_path_hints(&self, mut hints: Vec<PathHint>) -> Vec<PathHint> {
        hints.retain(|hint| {
            let room = hint.room.as_deref();
            !room.is_some_and(|room| self.send_path_change(room, &hint.user, hint.is_lost))
        });
        let unbound = hints.iter().filter(|hint| hint.room.is_none());
        // The last one counts.
        let unbound: HashMap<&str, bool> =
            unbound.map(|hint| (&*hint.user, hint.is_lost)).collect();
        if !unbound.is_empty() {
            for (room, users) in self.occupied_rooms() {
                for user in users {
                    if let Some(is_lost) = unbound.get(&*user) {
                        self.send_path_change(&room, &user, *is_lost);
                    }
                }
            }
        }
        hints
    }
}
