//! The relays of rooms, where several servers share the rooms: all members of a room use one relay.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use super::{Alternates, Transport};

/// The relay of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomRelay {
    /// This server: also a draining one allocates for the room.
    Here,
    /// Another server, with these addresses for UDP and TCP.
    Elsewhere(Alternates),
}

/// The known relays of rooms. Every shard reads them at an Allocate whose credential is bound to a room.
#[derive(Debug, Default)]
pub struct RoomRelays(RwLock<HashMap<Box<str>, RoomRelay>>);

impl RoomRelays {
    /// Records the relay of a room.
    pub fn set(&self, room: &str, relay: RoomRelay) {
        let mut rooms = self.0.write().unwrap_or_else(PoisonError::into_inner);
        rooms.insert(room.into(), relay);
    }

    /// Forgets the relay of a room: its members may allocate here.
    pub fn forget(&self, room: &str) {
        let mut rooms = self.0.write().unwrap_or_else(PoisonError::into_inner);
        rooms.remove(room);
    }

    /// Returns whether this server is the relay of `room`.
    pub(super) fn is_here(&self, room: &str) -> bool {
        let rooms = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room) == Some(&RoomRelay::Here)
    }

    /// Returns the server to which a client of `room` is redirected. `None` if that is this server, is unknown, or
    /// has no address for the client: ALTERNATE-SERVER has no port for TLS.
    pub(super) fn alternate(
        &self,
        room: &str,
        client: SocketAddr,
        transport: Transport,
    ) -> Option<SocketAddr> {
        let rooms = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match rooms.get(room)? {
            RoomRelay::Elsewhere(servers) if transport != Transport::Tls => {
                servers.of_family(client)
            }
            _ => None,
        }
    }
}
