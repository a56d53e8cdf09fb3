//! The end of one of several nodes that restarts: the roster awaits the users of plain clients, and sessions wait for
//! the next process.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Hub;
use crate::clock;
use crate::config::Signaling;
use crate::room::CloseCode;
use crate::service::room_entry::lock;
use crate::service::saved_sessions::SavedRoom;

/// Limit of the wait until the roster of several nodes awaits the users of this one.
const SUSPENSION_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of the checks whether it does.
const SUSPENSION_PAUSE: Duration = Duration::from_millis(5);

impl Hub {
    /// Closes every connection with 1012. Sessions stay, and their queues get the frames that arrive until
    /// [`Hub::save_rooms`].
    pub(super) fn restart_node(&self, settings: &Signaling) {
        self.restarting.store(true, Ordering::SeqCst);
        self.stopped.store(true, Ordering::SeqCst);
        self.invalidate();
        self.tunnels.close_clients(CloseCode::Restarting);
        let now = clock::now().mono;
        let until = now + self.sessions.grace();
        let keeps_sessions = now < until;
        let outbox = |user: &str, queue| self.restored_outbox(user, queue, settings);
        self.with_rooms(|entry| {
            if keeps_sessions && entry.room.follows_roster() {
                entry.detach_sessions(now, until, outbox);
                entry.room.suspend_plain(&mut entry.effects);
            } else {
                entry.room.suspend_all(&mut entry.effects);
            }
        });
    }

    /// Whether this process ends because another one continues its sessions.
    pub fn is_restarting(&self) -> bool {
        self.restarting.load(Ordering::SeqCst)
    }

    /// Waits until the roster of several nodes awaits the users of this one, and their connections are closed. Returns
    /// after a second if Redis does not answer.
    pub async fn wait_for_suspensions(&self) {
        if self.link.is_none() {
            return;
        }
        let suspended = async {
            while self.has_connections() {
                tokio::time::sleep(SUSPENSION_PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(SUSPENSION_TIMEOUT, suspended).await;
    }

    /// Whether rooms of a node that restarts have sessions for the next process.
    pub fn keeps_sessions(&self) -> bool {
        self.is_restarting() && !self.extended_rooms().is_empty()
    }

    /// Saves the rooms of a node that restarts, after its last message to the other nodes. `None` if a room has lost
    /// track of the roster.
    pub fn save_rooms(&self) -> Option<Vec<SavedRoom>> {
        let mut saved = Vec::new();
        let mut is_complete = true;
        self.with_rooms(|entry| {
            if entry.room.may_be_listed() {
                let room = entry.save_listed();
                is_complete &= room.is_some();
                saved.extend(room);
            }
        });
        is_complete.then_some(saved)
    }

    fn has_connections(&self) -> bool {
        let mut buckets = self.buckets.iter();
        buckets.any(|bucket| {
            let rooms: Vec<_> = lock(bucket).values().cloned().collect();
            rooms.iter().any(|room| lock(room).has_connections())
        })
    }
}
