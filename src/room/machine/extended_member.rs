//! A member whose client speaks `parlor.v1`.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::clock::Mono;
use crate::rate::Gcra;
use crate::room::ClientRequest;
use crate::room::server_frame::State;

/// The others learn that a member has no connection after this time.
pub const AWAY_NOTICE: Duration = Duration::from_secs(3);

/// Remembered ids of frames.
const MAX_IDS: usize = 256;

/// The part of a member that a plain one does not have.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub state: State,
    /// If the connection is lost.
    pub away: Option<Away>,
    /// The used budget of changes, and of names among them.
    pub updates: Gcra,
    pub names: Gcra,
    /// The used budget of statistics.
    pub stats: Gcra,
    /// Hashes of the last ids.
    ids: VecDeque<u64>,
    /// The request that has no answer yet.
    pub request: Option<Box<PendingRequest>>,
}

/// A request without an answer.
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub id: Option<Box<str>>,
    /// Until the caller takes it.
    pub request: Option<ClientRequest>,
}

/// A member without a connection.
#[derive(Debug)]
pub(super) struct Away {
    pub since: Mono,
    /// The member is gone then.
    pub until: Mono,
    /// Whether the others know.
    pub is_announced: bool,
}

impl Extended {
    /// Whether a frame with this `id` was accepted before.
    pub(super) fn is_repeated(&self, id: &str) -> bool {
        self.ids.contains(&hash_of(id))
    }

    /// Remembers the `id` of an accepted frame.
    pub(super) fn remember(&mut self, id: &str) {
        if self.ids.len() == MAX_IDS {
            self.ids.pop_front();
        }
        self.ids.push_back(hash_of(id));
    }

    /// The remembered ids, for the next process.
    pub(super) fn saved_ids(&self) -> Vec<u64> {
        self.ids.iter().copied().collect()
    }

    pub(super) fn restore_ids(&mut self, ids: &[u64]) {
        let skipped = ids.len().saturating_sub(MAX_IDS);
        self.ids = ids[skipped..].iter().copied().collect();
    }
}

/// The hash of an id. A client that chooses two ids with one hash loses a frame of its own.
fn hash_of(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_without_ids_costs_less_than_a_quarter_of_a_kilobyte() {
        assert!(size_of::<Extended>() < 256);
    }

    #[test]
    fn the_last_256_ids_are_remembered() {
        let mut extended = Extended::default();
        for number in 0..300 {
            extended.remember(&number.to_string());
        }
        let remembered = (0..300).filter(|number| extended.is_repeated(&number.to_string()));
        assert!(remembered.eq(44..300));
        assert_eq!(extended.ids.len(), MAX_IDS);
    }
}
