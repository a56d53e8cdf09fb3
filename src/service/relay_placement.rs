//! Where credentials of a room lead, and what happens when a relay node ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::relay_address::RelayAddress;
use super::relay_nodes::{Due, RelayNodes};

/// Rooms that are placed at a time.
const MAX_PLACING: usize = 64;
/// Pause before rooms are placed again, if Redis does not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The shortest interval of the checks whether a placement ends.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl App {
    /// The relay for credentials of a room, or for others if none is given. `None` if this node is the only one.
    /// Without Redis it is the relay that this node remembers, or its own.
    pub async fn relay_for(&self, room: Option<&str>) -> Option<Arc<RelayAddress>> {
        let relay_nodes = self.relay_nodes.as_ref()?;
        if let Some(room) = room {
            let placed = self.place(relay_nodes, room).await;
            if let Some(relay) = placed.or_else(|| relay_nodes.known(room)) {
                return Some(relay);
            }
        }
        self.relay_address().map(Arc::new)
    }

    /// Asks where a room with connections is placed, in a task of its own, unless that is known.
    pub fn learn_relay(self: &Arc<Self>, room: &str) {
        let Some(relay_nodes) = &self.relay_nodes else {
            return;
        };
        if relay_nodes.known(room).is_none() {
            let (app, room) = (self.clone(), room.to_owned());
            tokio::spawn(async move { app.relay_for(Some(&room)).await });
        }
    }

    /// A room is placed for as long as a credential is valid.
    fn placement_ttl(&self) -> Duration {
        self.settings().config.turn.credential_ttl
    }

    /// Repeats the placement of a room with connections; one without is forgotten at the end of its placement.
    /// Returns whether that could be done.
    async fn place_again(&self, relay_nodes: &RelayNodes, room: &str, due: Due) -> bool {
        if self.hub.connected(room).is_empty() {
            if due == Due::Ends {
                relay_nodes.forget(room);
            }
            return true;
        }
        // A node that restarts is awaited.
        self.place(relay_nodes, room).await.is_some() && relay_nodes.is_settled(room)
    }

    /// Places a room, and tells its members if its relay is another one than before.
    async fn place(&self, relay_nodes: &RelayNodes, room: &str) -> Option<Arc<RelayAddress>> {
        let known = relay_nodes.known(room);
        let relay = relay_nodes.place(room, self.placement_ttl()).await?;
        if known.is_some_and(|known| known.id != relay.id) {
            tracing::debug!(room, "room moved to another relay");
            self.hub.notify_ice_servers(room);
        }
        Some(relay)
    }
}

/// Places rooms anew when their relay node ends, and renews placements, until `shutdown`. Ends at once without other
/// nodes.
pub(super) async fn follow(app: Arc<App>, shutdown: CancellationToken) {
    if let Some(relay_nodes) = &app.relay_nodes {
        let keeping = keep(&app, relay_nodes);
        shutdown.run_until_cancelled(keeping).await;
    }
}

async fn keep(app: &App, relay_nodes: &RelayNodes) {
    let mut nodes = relay_nodes.link().nodes();
    let mut known = nodes.borrow().clone();
    loop {
        let listed = nodes.borrow_and_update().clone();
        relay_nodes.record_gone(&known, &listed);
        known = listed;
        let ttl = app.placement_ttl();
        let mut is_done = true;
        for rooms in relay_nodes.due(ttl).chunks(MAX_PLACING) {
            let placing = rooms.iter();
            let placing = placing.map(|(room, due)| app.place_again(relay_nodes, room, *due));
            is_done &= join_all(placing)
                .await
                .into_iter()
                .all(|is_placed| is_placed);
        }
        // Nodes that do not return are noticed at the end of the recovery.
        if !is_done || relay_nodes.is_recovering() {
            tokio::time::sleep(RETRY_PAUSE).await;
            continue;
        }
        tokio::select! {
            _ = nodes.changed() => {}
            () = relay_nodes.stale() => {}
            () = tokio::time::sleep((ttl / 8).max(MIN_CHECK_INTERVAL)) => {}
        }
    }
}
