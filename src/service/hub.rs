//! The rooms with connections, and the queues of the connections.
//!
//! Each room has a lock of its own. Locks are taken in one order, bucket before room before outbox,
//! and never held while anything waits.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::change_signals::ChangeSignals;
use super::cluster::ended::EndedChanges;
use super::cluster::metrics;
use super::cluster::requests::Requests;
use super::cluster::tunnel::Tunnels;
use super::live_changes::LiveChanges;
use super::outbox::Outbox;
use super::quality::CallQuality;
use super::role_changes::RoleChanges;
use super::room_entry::{ConnectionInfo, Entrance, RoomEntry, limits, lock};
use super::session_settings::SessionSettings;
use super::signaling_metrics::SignalingMetrics;
use crate::bus::redis::Link;
use crate::clock;
use crate::config::Signaling;
use crate::metrics::Metrics;
use crate::room::{CloseCode, ConnectionId, Departure, Limits, Room};
use crate::token::Issue;

/// Rooms are spread over this many buckets, each with a lock.
const BUCKET_COUNT: usize = 16;

type Rooms = HashMap<Arc<str>, Arc<Mutex<RoomEntry>>>;

/// All connections, by room.
pub struct Hub {
    /// The send limits of each connection. Lock order: after a bucket.
    limits: Mutex<Limits>,
    buckets: [Mutex<Rooms>; BUCKET_COUNT],
    hasher: RandomState,
    stopped: AtomicBool,
    draining: AtomicBool,
    /// Changes with each [`Hub::close`] and [`Hub::invalidate`], so that a connection that was admitted
    /// before can be checked again.
    epoch: AtomicU64,
    pub(super) metrics: SignalingMetrics,
    /// The tasks of all connections.
    tasks: TaskTracker,
    /// The other nodes, if there are several.
    link: Option<Arc<Link>>,
    /// Changes of the store that this node or another one has committed.
    pub(super) changes: ChangeSignals,
    /// Requests to the other nodes and of them.
    pub(super) requests: Requests,
    /// Connections that other nodes pass on, and those that this node passes on.
    pub(super) tunnels: Arc<Tunnels>,
    /// Effects of changes that other nodes have committed.
    pub(super) ended: EndedChanges,
    /// Whether another process continues the sessions.
    restarting: AtomicBool,
    sessions: SessionSettings,
    /// Roles that changed in the store.
    pub(super) role_changes: RoleChanges,
    /// Chats and rooms that changed in the store.
    pub(super) live_changes: LiveChanges,
    /// The measurements of the relay, and reports of clients for it.
    pub(super) quality: CallQuality,
}

/// A connection's place in a room. Dropping it leaves the room.
pub struct RoomHandle {
    hub: Arc<Hub>,
    room: Arc<str>,
    entry: Arc<Mutex<RoomEntry>>,
    connection: ConnectionId,
    /// Whether the client sent a close frame, as opposed to a lost connection.
    closed_by_client: bool,
    /// The queue of a connection with a session: the session may move to another one.
    session: Option<Arc<Outbox>>,
    /// Whether the session outlives the connection.
    keeps_session: bool,
    /// Until the roster of several nodes lists the connection.
    entered: Option<oneshot::Receiver<Result<(), CloseCode>>>,
}

impl Hub {
    pub fn new(settings: &Signaling, metrics: &Metrics) -> Arc<Hub> {
        Hub::with_link(settings, metrics, None)
    }

    /// A hub of one of several nodes. [`cluster::run`](super::cluster::run) must run.
    pub fn with_link(settings: &Signaling, metrics: &Metrics, link: Option<Arc<Link>>) -> Arc<Hub> {
        if let Some(link) = &link {
            metrics::register(metrics, link);
        }
        Arc::new(Hub {
            link,
            changes: ChangeSignals::default(),
            requests: Requests::default(),
            tunnels: Arc::default(),
            ended: EndedChanges::default(),
            limits: Mutex::new(limits(settings)),
            sessions: SessionSettings::new(settings),
            role_changes: RoleChanges::default(),
            live_changes: LiveChanges::default(),
            quality: CallQuality::new(metrics),
            buckets: Default::default(),
            hasher: RandomState::new(),
            stopped: AtomicBool::new(false),
            restarting: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            metrics: SignalingMetrics::new(metrics),
            tasks: TaskTracker::new(),
        })
    }

    /// The other nodes, if there are several.
    pub fn link(&self) -> Option<&Arc<Link>> {
        self.link.as_ref()
    }

    /// Runs the task of a WebSocket; [`Hub::wait_for_connections`] waits for it.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(connection);
    }

    /// Waits until every WebSocket has ended. None may be opened from now on.
    pub async fn wait_for_connections(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Counts a WebSocket that the server closed.
    pub fn count_close(&self, code: CloseCode) {
        self.metrics.closed(code);
    }

    /// Applies the limits of these settings, also to existing connections.
    pub fn reconfigure(&self, settings: &Signaling) {
        let limits = limits(settings);
        // First: rooms that are created from now on use the new limits.
        *lock(&self.limits) = limits;
        self.sessions.reconfigure(settings);
        for bucket in &self.buckets {
            for entry in lock(bucket).values() {
                lock(entry).room.set_limits(limits);
            }
        }
    }

    /// The users who are connected to a room.
    pub fn connected(&self, room: &str) -> Vec<Arc<str>> {
        let entry = lock(self.bucket(room)).get(room).cloned();
        entry.map_or_else(Vec::new, |s| lock(&s).room.users().cloned().collect())
    }

    /// The users who are connected to a room on other nodes, if the room has connections to this one.
    pub(super) fn connected_elsewhere(&self, room: &str) -> Vec<Arc<str>> {
        let entry = lock(self.bucket(room)).get(room).cloned();
        entry.map_or_else(Vec::new, |entry| {
            let entry = lock(&entry);
            let members = entry.room.remote_members();
            members.map(|(user, _)| user.clone()).collect()
        })
    }

    /// Whether a user is connected to a room.
    pub fn is_connected(&self, room: &str, user: &str) -> bool {
        let entry = lock(self.bucket(room)).get(room).cloned();
        entry.is_some_and(|s| lock(&s).room.users().any(|known| **known == *user))
    }

    /// The issue time of the token of a user's connection to a room.
    pub(super) fn issue(&self, room: &str, user: &str) -> Option<Issue> {
        let entry = lock(self.bucket(room)).get(room).cloned()?;
        let entry = lock(&entry);
        let mut connections = entry.connections.values();
        let known = connections.find(|known| *known.user == *user)?;
        Some(known.issue)
    }

    /// The rooms that a user is connected to.
    pub(super) fn rooms_of(&self, user: &str) -> Vec<Arc<str>> {
        let mut rooms = self.occupied_rooms();
        rooms.retain(|(_, users)| users.iter().any(|known| **known == *user));
        rooms.into_iter().map(|(room, _)| room).collect()
    }

    /// All connected users, as (room, users).
    pub fn occupied_rooms(&self) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
        let rooms = self.buckets.iter().flat_map(|bucket| {
            let rooms: Vec<_> = lock(bucket).keys().cloned().collect();
            rooms
        });
        rooms
            .map(|room| (room.clone(), self.connected(&room)))
            .collect()
    }

    /// All connections.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let rooms = self.buckets.iter().flat_map(|bucket| {
            let rooms = lock(bucket);
            let rooms = rooms.iter().map(|(id, entry)| (id.clone(), entry.clone()));
            rooms.collect::<Vec<_>>()
        });
        let mut connections = Vec::new();
        for (room, entry) in rooms {
            let entry = lock(&entry);
            connections.extend(entry.connections.values().map(|known| ConnectionInfo {
                user: known.user.clone(),
                room: room.clone(),
                since: known.since,
            }));
        }
        connections
    }

    /// Closes the connection of a user to a room; returns whether there was one.
    pub fn close(&self, room: &str, user: &str, code: CloseCode) -> bool {
        self.close_for(Departure::by(code), room, user, code)
    }

    /// [`Hub::close`] for a reason that `parlor.v1` clients learn.
    pub(super) fn close_for(
        &self,
        reason: Departure,
        room: &str,
        user: &str,
        code: CloseCode,
    ) -> bool {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.with_room(room, |entry| {
            let RoomEntry { room, effects, .. } = entry;
            room.close_user_for(reason, user, code, effects)
        })
        .unwrap_or(false)
    }

    /// Closes every connection of a user, in all rooms; returns their number.
    pub(super) fn close_user(&self, reason: Departure, user: &str, code: CloseCode) -> usize {
        // Before the list is made: it does not contain users who are connecting just now.
        self.invalidate();
        let rooms = self.rooms_of(user).into_iter();
        let is_closed = |room: &Arc<str>| self.close_for(reason, room, user, code);
        rooms.filter(is_closed).count()
    }

    /// Closes every connection to a room; returns their number.
    pub fn close_room(&self, room: &str, code: CloseCode) -> usize {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.with_room(room, |entry| {
            entry.room.close_all(code, &mut entry.effects);
            entry.effects.len()
        })
        .unwrap_or(0)
    }

    /// Closes every connection to a room because the server drains: its users may still be talking,
    /// and count as connected.
    pub fn close_for_drain(&self, room: &str) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.with_room(room, |entry| {
            let RoomEntry { room, effects, .. } = entry;
            room.close_for_drain(CloseCode::Restarting, effects);
        });
    }

    /// Closes every connection with 1001, and every later one too. Sessions for the next process stay.
    pub fn shutdown(&self) {
        if !self.is_restarting() {
            self.stop(CloseCode::Stopped);
        }
    }

    fn stop(&self, code: CloseCode) {
        self.stopped.store(true, Ordering::SeqCst);
        self.tunnels.close_clients(code);
        let is_available = self.link.as_ref().is_some_and(|link| link.is_available());
        for (room, _) in self.occupied_rooms() {
            if is_available && code == CloseCode::Restarting {
                // Users may return to any node.
                self.close_for_drain(&room);
            } else {
                self.close_room(&room, code);
            }
        }
    }

    /// Closes every later connection with 1012.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Changes the epoch, so that connections that were admitted before, and have not joined yet, are
    /// checked again.
    pub(super) fn invalidate(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// A number that changes with every close, and with `Hub::invalidate`.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Adds a connection, whose frames go to `outbox`.
    pub fn join(
        self: &Arc<Self>,
        room: &str,
        entrance: Entrance<'_>,
        outbox: &Arc<Outbox>,
    ) -> Result<RoomHandle, CloseCode> {
        let mut bucket = lock(self.bucket(room));
        if self.stopped.load(Ordering::SeqCst) {
            return Err(CloseCode::Stopped);
        }
        if self.is_draining() {
            return Err(CloseCode::Restarting);
        }
        if self.link.as_ref().is_some_and(|link| !link.is_available()) {
            return Err(CloseCode::ConnectionError);
        }
        let (room, entry) = self.find_or_create(&mut bucket, room);
        let session = entrance.greeting.is_some().then(|| outbox.clone());
        let (connection, entered) = match &self.link {
            None => (lock(&entry).join(entrance, outbox, clock::now())?, None),
            Some(_) => {
                let (connection, entered) = lock(&entry).enter(entrance, outbox);
                (connection, Some(entered))
            }
        };
        self.metrics.connections.inc();
        Ok(RoomHandle {
            hub: self.clone(),
            room,
            entry,
            connection,
            closed_by_client: false,
            session,
            keeps_session: false,
            entered,
        })
    }

    /// Has the members of a room use other ICE servers: those whose clients expect such messages.
    pub(super) fn notify_ice_servers(&self, room: &str) {
        self.with_room(room, |entry| entry.notify_ice_servers());
    }

    /// Runs `work` on a room with connections, and carries out its effects.
    pub(super) fn with_room<T>(
        &self,
        room: &str,
        work: impl FnOnce(&mut RoomEntry) -> T,
    ) -> Option<T> {
        let entry = lock(self.bucket(room)).get(room).cloned()?;
        let mut entry = lock(&entry);
        let result = work(&mut entry);
        entry.apply_effects();
        Some(result)
    }

    fn leave(&self, handle: &RoomHandle) {
        let mut bucket = lock(self.bucket(&handle.room));
        let mut entry = lock(&handle.entry);
        if self.keep_session(handle, &mut entry) {
            self.metrics.connections.dec();
            return;
        }
        let RoomEntry { room, effects, .. } = &mut *entry;
        if self.is_draining() && !handle.closed_by_client {
            room.connection_lost(handle.connection, effects);
        } else {
            room.leave_for(handle.departure(), handle.connection, effects);
        }
        entry.apply_effects();
        entry.connections.remove(&handle.connection);
        let current = bucket.get(&handle.room);
        if entry.room.is_empty() && current.is_some_and(|s| Arc::ptr_eq(s, &handle.entry)) {
            bucket.remove(&handle.room);
            self.metrics.rooms.dec();
        }
        self.metrics.connections.dec();
    }

    fn new_entry(&self, id: &str) -> RoomEntry {
        let room = Room::new(id, *lock(&self.limits));
        RoomEntry::new(
            id.into(),
            room,
            self.link.clone(),
            self.metrics.lost.clone(),
        )
    }

    /// Returns a room of a bucket, which is created if it does not exist.
    fn find_or_create(&self, bucket: &mut Rooms, room: &str) -> (Arc<str>, Arc<Mutex<RoomEntry>>) {
        if let Some((room, entry)) = bucket.get_key_value(room) {
            return (room.clone(), entry.clone());
        }
        let id: Arc<str> = Arc::from(room);
        let entry = Arc::new(Mutex::new(self.new_entry(room)));
        bucket.insert(id.clone(), entry.clone());
        self.metrics.rooms.inc();
        (id, entry)
    }

    /// Runs `work` on a room of a bucket, carries out its effects, and removes the room if it is empty.
    fn update(
        &self,
        bucket: &mut Rooms,
        room: &str,
        entry: &Mutex<RoomEntry>,
        work: impl FnOnce(&mut RoomEntry),
    ) {
        let mut entry = lock(entry);
        work(&mut entry);
        entry.apply_effects();
        if entry.room.is_empty() {
            bucket.remove(room);
            self.metrics.rooms.dec();
        }
    }

    /// Runs `work` on a room, which is created if it does not exist, and carries out its effects.
    pub(super) fn with_new_room(&self, room: &str, work: impl FnOnce(&mut RoomEntry)) {
        let mut bucket = lock(self.bucket(room));
        let (_, entry) = self.find_or_create(&mut bucket, room);
        self.update(&mut bucket, room, &entry, work);
    }

    /// Runs `work` on every room, and carries out the effects.
    pub(super) fn with_rooms(&self, mut work: impl FnMut(&mut RoomEntry)) {
        for bucket in &self.buckets {
            let mut bucket = lock(bucket);
            for (room, entry) in bucket.clone() {
                self.update(&mut bucket, &room, &entry, &mut work);
            }
        }
    }

    fn bucket(&self, room: &str) -> &Mutex<Rooms> {
        &self.buckets[self.hasher.hash_one(room) as usize % BUCKET_COUNT]
    }
}

mod handle;
mod handover;
mod live;
mod sessions;
mod suspension;
#[cfg(test)]
mod tests;
