//! Who is using the relay, for an admin who asks.

use std::net::SocketAddr;

use super::allocation::Allocation;
use super::{Route, Server, Transport};

/// Allocations that are looked at for one page: about 0.1 ms, which media can wait.
const SESSIONS_PER_PAGE: usize = 512;

/// A living allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The user, or [`crate::credential::unnamed_address`].
    pub user: Box<str>,
    /// The room that the credential is bound to.
    pub room: Option<Box<str>>,
    pub transport: Transport,
    /// The client's address as the server sees it.
    pub client: SocketAddr,
    /// The server address that the client sends to.
    pub server: SocketAddr,
    /// The relayed transport address, as it is told to peers; of two, the IPv4 one.
    pub relayed: SocketAddr,
    /// The IPv6 one of two.
    pub relayed_ipv6: Option<SocketAddr>,
    /// When it was made, in Unix seconds.
    pub since: u64,
    /// Bytes of application data that the client sent and that were passed on.
    pub bytes_up: u64,
    /// Bytes of application data that were passed to the client.
    pub bytes_down: u64,
}

/// Some of a shard's sessions.
#[derive(Debug, Default)]
pub struct SessionPage {
    pub sessions: Vec<Session>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<usize>,
}

impl Allocation {
    /// Nothing while its address is not bound: so far, nobody was promised it.
    pub(super) fn session(&self) -> Option<Session> {
        let mut relayed = self.relayed_addresses().map(|bound| bound.relayed);
        let relayed = match self.pending_bind {
            Some(_) => return None,
            None => (relayed.next()?, relayed.next()),
        };
        Some(Session {
            user: self.user.clone(),
            room: self.room.clone(),
            transport: self.route.transport,
            client: self.route.client,
            server: self.route.server,
            relayed: relayed.0,
            relayed_ipv6: relayed.1,
            since: self.since,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
        })
    }
}

impl Session {
    /// The five-tuple; the socket or stream is not known.
    fn route(&self) -> Route {
        Route {
            transport: self.transport,
            client: self.client,
            server: self.server,
            via: 0,
        }
    }
}

impl Server {
    /// Ends the allocation of a listed session, but no other or later allocation of its client.
    /// Returns the number of ended allocations: 0 or 1.
    pub fn end_session(&mut self, listed: &Session) -> usize {
        let route = listed.route();
        let Some(id) = self.table.find_by_client(&route) else {
            return 0;
        };
        let now = self.table.get(id).and_then(|now| now.session());
        let same = |now: Session| {
            (now.since, now.user, now.room)
                == (listed.since, listed.user.clone(), listed.room.clone())
        };
        if !now.is_some_and(same) {
            return 0;
        }
        self.free(id);
        1
    }

    /// The session of a client.
    pub fn session(&mut self, client: &Route) -> Option<Session> {
        let id = self.table.find_by_client(client)?;
        self.table.get(id)?.session()
    }

    /// The sessions from place `from` on. One that lives while all pages are read is in one of
    /// them; one that comes meanwhile may be missing.
    pub fn sessions(&self, from: usize) -> SessionPage {
        let (allocations, next) = self.table.page(from, SESSIONS_PER_PAGE);
        let sessions = allocations.filter_map(Allocation::session);
        SessionPage {
            sessions: sessions.collect(),
            next,
        }
    }
}
