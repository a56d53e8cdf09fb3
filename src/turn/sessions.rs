//! The list of sessions for an administrator.

use crate::clock::Mono;

use super::allocation::Allocation;
use super::{Route, Server, Session, SessionPage};

/// Table entries that are read for one page. This takes about 0.1 ms, which is no noticeable delay
/// for media.
const SESSIONS_PER_PAGE: usize = 512;

impl Allocation {
    /// Returns the session, with the quality of its links at `now` if that is given. Returns `None`
    /// while the relay socket is being bound, because the client has no response yet.
    pub(super) fn session(&self, now: Option<Mono>) -> Option<Session> {
        if self.pending_bind.is_some() {
            return None;
        }
        let mut relayed = self.relayed_addresses().map(|address| address.relayed);
        let (relayed, relayed_ipv6) = (relayed.next()?, relayed.next());
        Some(Session {
            user: self.user.clone(),
            room: self.room.clone(),
            transport: self.route.transport,
            client: self.route.client,
            server: self.route.server,
            relayed,
            relayed_ipv6,
            since: self.since,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            quality: self
                .monitor
                .as_ref()
                .zip(now)
                .map(|(monitor, now)| monitor.quality(now, self.bytes_up, self.bytes_down)),
        })
    }
}

impl Session {
    /// Returns the five-tuple. Its socket or stream is unknown.
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
        let now = self.table.get(id).and_then(|now| now.session(None));
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

    /// Returns the session of a client.
    pub fn session(&mut self, client: &Route) -> Option<Session> {
        let id = self.table.find_by_client(client)?;
        self.table.get(id)?.session(None)
    }

    /// Returns a page of sessions, beginning at table index `from`, with their quality at `now`. A
    /// session that exists while all pages are read is in one of them. A session that begins
    /// meanwhile may be missing.
    pub fn sessions(&self, now: Mono, from: usize) -> SessionPage {
        let (allocations, next) = self.table.page(from, SESSIONS_PER_PAGE);
        let sessions = allocations.filter_map(|allocation| allocation.session(Some(now)));
        SessionPage {
            sessions: sessions.collect(),
            next,
        }
    }
}
