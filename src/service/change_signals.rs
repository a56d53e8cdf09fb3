//! Signals between the tasks that commit changes, announce them to other nodes, and read them.

use tokio::sync::Notify;

use crate::bus::Event;

/// Wakes the tasks that announce changes and that read them.
#[derive(Debug, Default)]
pub(super) struct ChangeSignals {
    /// This node has committed a change.
    committed: Notify,
    /// Another node has committed a change.
    announced: Notify,
}

impl ChangeSignals {
    /// Records that this node has committed a change.
    pub(super) fn commit(&self) {
        self.committed.notify_one();
    }

    /// Waits until another node has announced a change.
    pub(super) async fn announced(&self) {
        self.announced.notified().await;
    }

    /// Waits until this node has committed a change.
    pub(super) async fn committed(&self) {
        self.committed.notified().await;
    }

    /// Records that another node has announced a change.
    pub(super) fn announce(&self) {
        self.announced.notify_one();
    }
}

/// Whether the other nodes must act on a change at once, because it takes access away or gives it back.
pub(super) fn is_urgent(event: &Event) -> bool {
    !matches!(
        event,
        Event::Joined { .. }
            | Event::RoomChanged { .. }
            | Event::RoomOpened { .. }
            | Event::RoleChanged { .. }
            | Event::Muted { .. }
    )
}
