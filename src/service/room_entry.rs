//! A room of the hub: its state machine, and the queues of its connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use super::live_state::LiveState;
use super::outbox::Outbox;
use super::resume_token::node_tag;
use crate::bus::redis::{Link, node_name};
use crate::clock::{self, Now};
use crate::config::Signaling;
use crate::rate::Limit;
use crate::room::{
    CloseCode, ConnectionId, Effect, Entrant, Greeting, Join, Limits, Profile, Request, Role, Room,
};
use crate::token::Issue;
use welcome::Welcome;

/// A room, and the queues of its connections.
pub(super) struct RoomEntry {
    id: Arc<str>,
    /// The other nodes, if there are several.
    link: Option<Arc<Link>>,
    pub room: Room,
    pub connections: HashMap<ConnectionId, ConnectionEntry>,
    pub effects: Vec<Effect>,
    live: LiveState,
    /// Frames that were dropped from full queues.
    dropped: Counter,
}

/// A connection of a room.
pub(super) struct ConnectionEntry {
    pub user: Arc<str>,
    /// The issue time of the connection's token.
    pub issue: Issue,
    pub since: u64,
    /// Whether the token makes its bearer an admin.
    is_token_admin: bool,
    outbox: Arc<Outbox>,
    /// Until the roster of several nodes lists the connection.
    entering: Option<Box<Entering>>,
}

/// The wait of a connection for its entry into a room of several nodes.
struct Entering {
    entered: oneshot::Sender<Result<(), CloseCode>>,
    /// If the connection speaks `parlor.v1`.
    greeting: Option<Greeting>,
    /// As of [`Entrance`].
    live: LiveState,
}

/// A connection that enters a room.
pub struct Entrance<'a> {
    pub user: &'a str,
    /// The issue time of the connection's token.
    pub issue: Issue,
    /// `None`: only the user's id is known.
    pub profile: Option<Box<Profile>>,
    /// Whether it continues a connection from before a restart.
    pub resume: bool,
    /// If the connection speaks `parlor.v1`.
    pub greeting: Option<Greeting>,
    /// The room and the last message of its chat before: such a client gets later changes.
    pub live: LiveState,
    /// Whether the token makes its bearer an admin.
    pub is_token_admin: bool,
}

impl<'a> Entrance<'a> {
    /// A plain connection, of whose user only the id is known.
    pub fn plain(user: &'a str, issue: Issue) -> Entrance<'a> {
        Entrance {
            user,
            issue,
            profile: None,
            resume: false,
            greeting: None,
            live: LiveState::default(),
            is_token_admin: false,
        }
    }

    /// Separates the room's share of an entrance from that of its queue.
    fn split(self, outbox: &Arc<Outbox>, now: Now) -> (Entrant<'a>, Arrival) {
        let entrant = Entrant {
            user: self.user,
            profile: self.profile,
            is_extended: self.greeting.is_some(),
            resume: self.resume,
        };
        let known = ConnectionEntry {
            user: self.user.into(),
            issue: self.issue,
            since: now.unix,
            is_token_admin: self.is_token_admin,
            outbox: outbox.clone(),
            entering: None,
        };
        let arrival = Arrival {
            known,
            greeting: self.greeting,
            live: self.live,
        };
        (entrant, arrival)
    }
}

/// A connection whose room decides whether it enters.
struct Arrival {
    known: ConnectionEntry,
    /// As of [`Entrance`].
    greeting: Option<Greeting>,
    live: LiveState,
}

/// A client that resumes its session.
pub struct Resumption<'a> {
    pub user: &'a str,
    /// The issue time of the connection's token.
    pub issue: Issue,
    /// The token of the session.
    pub token: &'a str,
    /// The last frame that the client has received.
    pub seq: u64,
    /// The time for the next resumption after a loss.
    pub within: Duration,
    /// The role of the user at this connect.
    pub role: Role,
    /// Whether the connection's token makes its bearer an admin.
    pub is_token_admin: bool,
}

/// A connection, as shown to admins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    pub user: Arc<str>,
    pub room: Arc<str>,
    /// In Unix seconds.
    pub since: u64,
}

impl RoomEntry {
    /// An empty room. `dropped` counts frames that are dropped from full queues.
    pub(super) fn new(
        id: Arc<str>,
        mut room: Room,
        link: Option<Arc<Link>>,
        dropped: Counter,
    ) -> RoomEntry {
        // Greater than the numbers of an earlier room with this id, which had no million entries a second.
        let first = clock::now().mono.0 / 1000;
        if let Some((link, first)) = link.as_ref().zip(ConnectionId::new(first.max(1))) {
            room.connect(link.id(), first);
        }
        RoomEntry {
            id,
            link,
            room,
            connections: HashMap::new(),
            effects: Vec::new(),
            live: LiveState::default(),
            dropped,
        }
    }

    pub(super) fn join(
        &mut self,
        entrance: Entrance<'_>,
        outbox: &Arc<Outbox>,
        now: Now,
    ) -> Result<ConnectionId, CloseCode> {
        let (entrant, arrival) = entrance.split(outbox, now);
        let Arrival {
            known,
            greeting,
            live,
        } = arrival;
        let joined = self.room.join_as(entrant, now.mono, &mut self.effects);
        match joined {
            Join::Rejected(code) => {
                self.apply_effects();
                Err(code)
            }
            Join::Accepted(connection) => {
                self.connections.insert(connection, known);
                if let Some(greeting) = greeting {
                    self.live.begin(live, self.room.extended_count() == 1);
                    let welcome = Welcome {
                        room: &self.room,
                        participants: &self.room.participants(),
                        greeting: &greeting,
                        node: None,
                    };
                    welcome.send(connection, outbox);
                }
                self.apply_effects();
                Ok(connection)
            }
        }
    }

    /// Adds a connection to a room of several nodes. It is a member when the receiver gets `Ok`.
    pub(super) fn enter(
        &mut self,
        entrance: Entrance<'_>,
        outbox: &Arc<Outbox>,
    ) -> (ConnectionId, oneshot::Receiver<Result<(), CloseCode>>) {
        let now = clock::now();
        let (sender, entered) = oneshot::channel();
        let (entrant, arrival) = entrance.split(outbox, now);
        let mut known = arrival.known;
        known.entering = Some(Box::new(Entering {
            entered: sender,
            greeting: arrival.greeting,
            live: arrival.live,
        }));
        let connection = self.room.enter_as(entrant, now.mono);
        self.connections.insert(connection, known);
        self.apply_effects();
        (connection, entered)
    }

    pub(super) fn apply_effects(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Deliver {
                    connection,
                    frame,
                    from,
                } => {
                    if let Some(known) = self.connections.get(&connection) {
                        let dropped = known.outbox.push(frame, from);
                        if dropped > 0 {
                            self.dropped.inc_by(dropped as u64);
                        }
                    }
                }
                Effect::Welcome {
                    connection,
                    participants,
                } => {
                    if let Some(known) = self.connections.get(&connection)
                        && let Some(entering) = &known.entering
                        && let Some(greeting) = &entering.greeting
                    {
                        let is_only_client = self.room.extended_count() == 1;
                        self.live.begin(entering.live.clone(), is_only_client);
                        let welcome = Welcome {
                            room: &self.room,
                            participants: &participants,
                            greeting,
                            node: self.link.as_ref().map(|link| tag_of(link)),
                        };
                        welcome.send(connection, &known.outbox);
                    }
                }
                Effect::Close { connection, code } => {
                    if let Some(known) = self.connections.remove(&connection) {
                        known.outbox.close(code);
                        if let Some(entering) = known.entering {
                            let _ = entering.entered.send(Err(code));
                        }
                    }
                }
            }
        }
        if let Some(link) = self.link.clone() {
            let requests = self.take_requests();
            if !requests.is_empty() {
                link.request(&self.id, requests);
            }
        }
    }

    /// Whether a user is connected with a token that makes its bearer an admin.
    pub(super) fn is_token_admin(&self, user: &str) -> bool {
        let mut connections = self.connections.values();
        connections.any(|known| known.is_token_admin && *known.user == *user)
    }

    /// The role of a user, of which the store knows `stored`.
    pub(super) fn role_with_token(&self, user: &str, stored: Role) -> Role {
        if self.is_token_admin(user) {
            Role::Owner
        } else {
            stored
        }
    }

    /// Has `parlor.v1` clients get other ICE servers, and tells plain ones that accept notices to fetch them.
    pub(super) fn notify_ice_servers(&self) {
        let notice = serde_json::json!({ "type": "ice-servers", "roomId": &*self.id });
        let notice = Bytes::from(notice.to_string());
        for known in self.connections.values() {
            if !known.outbox.renew_ice() && known.outbox.accepts_notices() {
                known.outbox.push(notice.clone(), None);
            }
        }
    }

    /// Stands for the name of this node, if there are several.
    fn node_tag(&self) -> Option<u64> {
        self.link.as_ref().map(|link| tag_of(link))
    }

    /// Restates the members of this node.
    pub(super) fn restate(&mut self, link: &Link) {
        self.room.restate();
        let requests = self.take_requests();
        // Also without a request: the link waits for this answer.
        link.request(&self.id, requests);
    }

    /// Takes the requests of the room, and reports the entries that it admitted.
    fn take_requests(&mut self) -> Vec<Request> {
        let requests = self.room.take_requests();
        for request in &requests {
            if let Request::Admitted { connection, .. } = request
                && let Some(known) = self.connections.get_mut(connection)
                && let Some(entering) = known.entering.take()
            {
                let _ = entering.entered.send(Ok(()));
            }
        }
        requests
    }
}

fn tag_of(link: &Link) -> u64 {
    node_tag(node_name(&link.id()))
}

/// The send limits of each connection.
pub fn limits(settings: &Signaling) -> Limits {
    let burst = settings.byte_burst() as u64;
    Limits {
        messages: Limit::per_second(settings.rate.into(), settings.burst.into()),
        bytes: Limit::per_second(settings.byte_rate.into(), burst),
    }
}

mod live;
mod saved;
#[cfg(test)]
mod session_tests;
mod sessions;
mod welcome;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
