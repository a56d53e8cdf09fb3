//! Other nodes learn at once that this one has committed a change: they poll the store now instead of at their next
//! poll.
//!
//! The message says nothing about the change. What must be read is in the store, so a message that is lost, repeated or
//! late does no harm.

use std::time::Duration;

use tokio::sync::Notify;

use crate::bus::Event;
use crate::bus::redis::Link;
use crate::service::hub::Hub;

/// The message.
const READ_CHANGES: &[u8] = b"\x01";
/// A node tells the others at most once in this time.
const PAUSE: Duration = Duration::from_millis(20);

/// What wakes the tasks that announce changes and that read them.
#[derive(Debug, Default)]
pub(in crate::service) struct ChangeSignals {
    /// This node has committed a change.
    committed: Notify,
    /// Another node has committed a change.
    announced: Notify,
}

impl ChangeSignals {
    /// Records that this node has committed a change.
    pub(in crate::service) fn commit(&self) {
        self.committed.notify_one();
    }

    /// Waits until another node has announced a change.
    pub(in crate::service) async fn announced(&self) {
        self.announced.notified().await;
    }
}

/// Whether the other nodes must act on a change at once, because it takes access away or gives it back.
pub(in crate::service) fn is_urgent(event: &Event) -> bool {
    !matches!(
        event,
        Event::Joined { .. } | Event::RoomChanged { .. } | Event::RoomOpened { .. }
    )
}

/// Announces the commits of this node, for ever.
pub(super) async fn announce(hub: &Hub, link: &Link) {
    loop {
        hub.changes.committed.notified().await;
        // Without Redis the others notice the change by their next poll.
        link.tell_all(READ_CHANGES.to_vec());
        tokio::time::sleep(PAUSE).await;
    }
}

/// Handles a message of another node. One of a later version is ignored.
pub(super) fn receive(hub: &Hub, message: &[u8]) {
    if message == READ_CHANGES {
        hub.changes.announced.notify_one();
    }
}

#[cfg(test)]
mod tests;
