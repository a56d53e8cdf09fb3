//! The connections of a room.

use std::num::NonZeroU64;

/// A connection of a room; never used twice in one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(super) NonZeroU64);

impl ConnectionId {
    /// The connection with this number; `None` for 0.
    pub fn new(number: u64) -> Option<ConnectionId> {
        NonZeroU64::new(number).map(ConnectionId)
    }

    pub fn number(self) -> u64 {
        self.0.get()
    }
}
