//! Other nodes learn at once that this one has committed a change: they poll the store now instead of at their next
//! poll.
//!
//! The message says nothing about the change. What must be read is in the store, so a message that is lost, repeated or
//! late does no harm.

use std::time::Duration;

use crate::bus::redis::Link;
use crate::service::hub::Hub;

/// The message.
const READ_CHANGES: &[u8] = b"\x01";
/// A node tells the others at most once in this time.
const PAUSE: Duration = Duration::from_millis(20);

/// Announces the commits of this node, for ever.
pub(super) async fn announce(hub: &Hub, link: &Link) {
    loop {
        hub.changes.committed().await;
        // Without Redis the others notice the change by their next poll.
        link.tell_all(READ_CHANGES.to_vec());
        tokio::time::sleep(PAUSE).await;
    }
}

/// Handles a message of another node. One of a later version is ignored.
pub(super) fn receive(hub: &Hub, message: &[u8]) {
    if message == READ_CHANGES {
        hub.changes.announce();
    }
}

#[cfg(test)]
mod tests;
