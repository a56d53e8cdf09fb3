//! The room of a credential as a number.

use std::hash::{BuildHasher, RandomState};

/// The room of a credential as a number that shards can compare. It is valid in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoomKey(u64);

impl RoomKey {
    /// The key of credentials that are bound to no room.
    pub(super) const NONE: RoomKey = RoomKey(0);
}

/// Computes the keys of rooms. The hash has a random key, so nobody can find two rooms with one key.
#[derive(Debug, Default)]
pub(super) struct RoomKeys(RandomState);

impl RoomKeys {
    pub(super) fn key_of(&self, room: Option<&str>) -> RoomKey {
        match room {
            Some(room) => RoomKey(self.0.hash_one(room).max(1)),
            None => RoomKey::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_have_different_keys_and_no_room_has_its_own() {
        let keys = RoomKeys::default();
        let [lobby, kitchen] = ["lobby", "kitchen"].map(|room| keys.key_of(Some(room)));
        assert_eq!(lobby, keys.key_of(Some("lobby")));
        assert_ne!(lobby, kitchen);
        assert_eq!(keys.key_of(None), RoomKey::NONE);
        assert!(![lobby, kitchen, keys.key_of(Some(""))].contains(&RoomKey::NONE));
    }

    #[test]
    fn keys_of_another_process_are_different() {
        let [one, two] = [RoomKeys::default(), RoomKeys::default()];
        assert_ne!(one.key_of(Some("lobby")), two.key_of(Some("lobby")));
    }
}
