//! Which clients of this relay reach each other through it: all of them, or only clients whose
//! credentials are bound to the same room.

use std::net::SocketAddr;

use super::{AllocationId, Server};

impl Server {
    /// Returns whether the credentials of two allocations are bound to the same room, or both to none.
    #[cold]
    pub(super) fn share_room(&mut self, one: AllocationId, other: AllocationId) -> bool {
        let mut room = |id| self.table.get(id).map(|allocation| allocation.room_key);
        let (one, other) = (room(one), room(other));
        one.is_some() && one == other
    }

    /// Returns whether the credential of another shard's allocation with the relayed address `from` is
    /// bound to the same room as that of the allocation `id`, or both to none.
    #[cold]
    pub(super) fn shares_room_with(&mut self, from: SocketAddr, id: AllocationId) -> bool {
        let room = self.table.get(id).map(|allocation| allocation.room_key);
        room.is_some() && room == self.config.directory.room_of(from)
    }
}
