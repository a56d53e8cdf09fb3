//! The rooms that somebody is connected to, and the connections' queues.
//!
//! Each room has a lock of its own. Locks are taken in one order, shard before room before outbox,
//! and never held while anything waits.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio_util::task::TaskTracker;

use super::signaling_metrics::SignalingMetrics;
use super::ws::Outbox;
use crate::clock::{self, Mono};
use crate::config::Signaling;
use crate::metrics::Metrics;
use crate::rate::Limit;
use crate::room::{CloseCode, ConnectionId, Effect, Input, Join, Limits, Outcome, Room};
use crate::token::Issue;

/// How long whoever was connected before a restart is expected back.
const RETURN: Duration = Duration::from_secs(10);

/// Rooms are spread over this many locks.
const SHARDS: usize = 16;

type Rooms = HashMap<Arc<str>, Arc<Mutex<Seating>>>;

/// Who is connected where.
pub struct Hub {
    /// Of each connection; taken after a shard's lock.
    limits: Mutex<Limits>,
    shards: [Mutex<Rooms>; SHARDS],
    hasher: RandomState,
    stopped: AtomicBool,
    draining: AtomicBool,
    /// Grows with each [`Hub::close`] and [`Hub::doubt`], so that whoever was checked before can be
    /// checked again.
    closings: AtomicU64,
    pub(super) counts: SignalingMetrics,
    /// The tasks of all connections.
    pub(super) tasks: TaskTracker,
}

/// A room, and where the frames for its connections go.
struct Seating {
    room: Room,
    seats: HashMap<ConnectionId, Taken>,
    effects: Vec<Effect>,
    /// Frames that were dropped from full queues.
    lost: Counter,
}

/// A connection that has a place.
struct Taken {
    user: Arc<str>,
    /// The issue time of the connection's token.
    issue: Issue,
    since: u64,
    outbox: Arc<Outbox>,
}

/// A connection, for an admin who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    pub user: Arc<str>,
    pub room: Arc<str>,
    /// In Unix seconds.
    pub since: u64,
}

/// A connection's place in a room. Whoever drops it has left.
pub struct Seat {
    hub: Arc<Hub>,
    room: Arc<str>,
    seating: Arc<Mutex<Seating>>,
    connection: ConnectionId,
    /// Whether the client sent a close frame, as opposed to a lost connection.
    said_goodbye: bool,
}

impl Hub {
    pub fn new(settings: &Signaling, metrics: &Metrics) -> Arc<Hub> {
        Arc::new(Hub {
            limits: Mutex::new(limits(settings)),
            shards: Default::default(),
            hasher: RandomState::new(),
            stopped: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            closings: AtomicU64::new(0),
            counts: SignalingMetrics::new(metrics),
            tasks: TaskTracker::new(),
        })
    }

    /// Puts the limits of these settings into force, for whoever is connected too.
    pub fn reconfigure(&self, settings: &Signaling) {
        let limits = limits(settings);
        // First: rooms that are created from now on use the new limits.
        *lock(&self.limits) = limits;
        for shard in &self.shards {
            for seating in lock(shard).values() {
                lock(seating).room.limit(limits);
            }
        }
    }

    /// The users who are connected to a room.
    pub fn connected(&self, room: &str) -> Vec<Arc<str>> {
        let seating = lock(self.shard(room)).get(room).cloned();
        seating.map_or_else(Vec::new, |s| lock(&s).room.users().cloned().collect())
    }

    /// Whether a user is connected to a room.
    pub fn is_connected(&self, room: &str, user: &str) -> bool {
        let seating = lock(self.shard(room)).get(room).cloned();
        seating.is_some_and(|s| lock(&s).room.users().any(|known| **known == *user))
    }

    /// The issue time of the token of a user's connection to a room.
    pub(super) fn issue(&self, room: &str, user: &str) -> Option<Issue> {
        let seating = lock(self.shard(room)).get(room).cloned()?;
        let seating = lock(&seating);
        let mut seats = seating.seats.values();
        let taken = seats.find(|taken| *taken.user == *user)?;
        Some(taken.issue)
    }

    /// Everybody who is connected, as (room, users).
    pub fn everybody(&self) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
        let rooms = self.shards.iter().flat_map(|shard| {
            let rooms: Vec<_> = lock(shard).keys().cloned().collect();
            rooms
        });
        rooms
            .map(|room| (room.clone(), self.connected(&room)))
            .collect()
    }

    /// Every connection.
    pub fn connections(&self) -> Vec<Connected> {
        let rooms = self.shards.iter().flat_map(|shard| {
            let rooms = lock(shard);
            let rooms = rooms
                .iter()
                .map(|(id, seating)| (id.clone(), seating.clone()));
            rooms.collect::<Vec<_>>()
        });
        let mut connections = Vec::new();
        for (room, seating) in rooms {
            let seats = lock(&seating);
            connections.extend(seats.seats.values().map(|taken| Connected {
                user: taken.user.clone(),
                room: room.clone(),
                since: taken.since,
            }));
        }
        connections
    }

    /// Closes the connection of a user to a room; whether there was one.
    pub fn close(&self, room: &str, user: &str, code: CloseCode) -> bool {
        self.closings.fetch_add(1, Ordering::SeqCst);
        self.in_room(room, |seating| {
            seating.room.close_user(user, code, &mut seating.effects)
        })
        .unwrap_or(false)
    }

    /// Closes every connection of a user, whatever the room; how many there were.
    pub fn close_user(&self, user: &str, code: CloseCode) -> usize {
        // Before the list is made: who is on the way to a seat is on no list.
        self.doubt();
        let rooms = self.everybody().into_iter();
        let rooms = rooms.filter(|(_, users)| users.iter().any(|known| **known == *user));
        rooms
            .filter(|(room, _)| self.close(room, user, code))
            .count()
    }

    /// Closes every connection to a room; how many there were.
    pub fn close_room(&self, room: &str, code: CloseCode) -> usize {
        self.closings.fetch_add(1, Ordering::SeqCst);
        self.in_room(room, |seating| {
            seating.room.close_all(code, &mut seating.effects);
            seating.effects.len()
        })
        .unwrap_or(0)
    }

    /// Closes every connection to a room because the server drains: its users may still be talking,
    /// and count as connected.
    pub fn send_away(&self, room: &str) {
        self.closings.fetch_add(1, Ordering::SeqCst);
        self.in_room(room, |seating| {
            let Seating { room, effects, .. } = seating;
            room.send_away(CloseCode::Restarting, effects);
        });
    }

    /// Closes every connection with 1001, and every later one too.
    pub fn shutdown(&self) {
        self.stop(CloseCode::Stopped);
    }

    /// Closes every connection with 1012, and every later one with 1001. Gives who was connected:
    /// the next process expects them back.
    pub fn restart(&self) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
        let rooms = self.everybody();
        self.stop(CloseCode::Restarting);
        rooms
    }

    fn stop(&self, code: CloseCode) {
        self.stopped.store(true, Ordering::SeqCst);
        for (room, _) in self.everybody() {
            self.close_room(&room, code);
        }
    }

    /// Expects these users back in these rooms, and takes those who have not come within ten
    /// seconds for gone. To be called inside a tokio runtime, before anybody connects.
    pub fn expect(self: &Arc<Self>, rooms: Vec<(Arc<str>, Vec<Arc<str>>)>) {
        if rooms.is_empty() {
            return;
        }
        let until = clock::now().mono + RETURN;
        for (id, users) in &rooms {
            let mut shard = lock(self.shard(id));
            let mut seating = self.seating(id);
            seating.room.expect(users.iter().cloned(), until);
            shard.insert(id.clone(), Arc::new(Mutex::new(seating)));
            self.counts.rooms.inc();
        }
        let hub = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RETURN).await;
            // Not before: the timer's clock is not ours.
            let now = clock::now().mono.max(until);
            rooms.iter().for_each(|(room, _)| hub.expire(room, now));
        });
    }

    fn expire(&self, room: &str, now: Mono) {
        let mut shard = lock(self.shard(room));
        let Some(seating) = shard.get(room).cloned() else {
            return;
        };
        let mut seating = lock(&seating);
        let Seating {
            room: state,
            effects,
            ..
        } = &mut *seating;
        state.expire(now, effects);
        seating.carry_out();
        if seating.room.is_empty() {
            shard.remove(room);
            self.counts.rooms.dec();
        }
    }

    /// Closes every later connection with 1012.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Who may be here has changed: whoever was checked before and has no seat yet is checked again.
    pub(super) fn doubt(&self) {
        self.closings.fetch_add(1, Ordering::SeqCst);
    }

    /// A number that changes whenever somebody is closed, or might have to be.
    pub(super) fn closings(&self) -> u64 {
        self.closings.load(Ordering::SeqCst)
    }

    /// Seats a connection of `user`, whose frames go to `outbox`; with `resume` it goes on where it
    /// was before a restart.
    pub(super) fn join(
        self: &Arc<Self>,
        room: &str,
        user: &str,
        issue: Issue,
        resume: bool,
        outbox: &Arc<Outbox>,
    ) -> Result<Seat, CloseCode> {
        let mut shard = lock(self.shard(room));
        if self.stopped.load(Ordering::SeqCst) {
            return Err(CloseCode::Stopped);
        }
        if self.is_draining() {
            return Err(CloseCode::Restarting);
        }
        let (room, seating) = match shard.get_key_value(room) {
            Some((room, seating)) => (room.clone(), seating.clone()),
            None => {
                let id: Arc<str> = Arc::from(room);
                let seating = Arc::new(Mutex::new(self.seating(room)));
                shard.insert(id.clone(), seating.clone());
                self.counts.rooms.inc();
                (id, seating)
            }
        };
        let connection = lock(&seating).join(user, issue, resume, outbox)?;
        self.counts.connections.inc();
        Ok(Seat {
            hub: self.clone(),
            room,
            seating,
            connection,
            said_goodbye: false,
        })
    }

    /// Runs `work` on a room that somebody is connected to, and carries out what follows.
    fn in_room<T>(&self, room: &str, work: impl FnOnce(&mut Seating) -> T) -> Option<T> {
        let seating = lock(self.shard(room)).get(room).cloned()?;
        let mut seating = lock(&seating);
        let result = work(&mut seating);
        seating.carry_out();
        Some(result)
    }

    fn leave(&self, seat: &Seat) {
        let mut shard = lock(self.shard(&seat.room));
        let mut seating = lock(&seat.seating);
        let Seating { room, effects, .. } = &mut *seating;
        match self.is_draining() && !seat.said_goodbye {
            true => room.lose(seat.connection),
            false => room.leave(seat.connection, effects),
        }
        seating.carry_out();
        seating.seats.remove(&seat.connection);
        let current = shard.get(&seat.room);
        if seating.room.is_empty() && current.is_some_and(|s| Arc::ptr_eq(s, &seat.seating)) {
            shard.remove(&seat.room);
            self.counts.rooms.dec();
        }
        self.counts.connections.dec();
    }

    fn seating(&self, room: &str) -> Seating {
        Seating {
            room: Room::new(room, *lock(&self.limits)),
            seats: HashMap::new(),
            effects: Vec::new(),
            lost: self.counts.lost.clone(),
        }
    }

    fn shard(&self, room: &str) -> &Mutex<Rooms> {
        &self.shards[self.hasher.hash_one(room) as usize % SHARDS]
    }
}

impl Seat {
    /// The client sent a close frame: the user left and did not just lose the connection.
    pub fn goodbye(&mut self) {
        self.said_goodbye = true;
    }

    /// The connection sent something.
    pub fn receive(&self, input: Input<'_>) -> Outcome {
        let now = clock::now().mono;
        let mut seating = lock(&self.seating);
        let Seating { room, effects, .. } = &mut *seating;
        let outcome = room.receive(self.connection, input, now, effects);
        seating.carry_out();
        drop(seating);
        self.hub.counts.received(outcome);
        outcome
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(self);
    }
}

impl Seating {
    fn join(
        &mut self,
        user: &str,
        issue: Issue,
        resume: bool,
        outbox: &Arc<Outbox>,
    ) -> Result<ConnectionId, CloseCode> {
        let now = clock::now();
        let joined = self.room.join(user, resume, now.mono, &mut self.effects);
        match joined {
            Join::Refused(code) => {
                self.carry_out();
                Err(code)
            }
            Join::Seated(connection) => {
                let taken = Taken {
                    user: user.into(),
                    issue,
                    since: now.unix,
                    outbox: outbox.clone(),
                };
                self.seats.insert(connection, taken);
                self.carry_out();
                Ok(connection)
            }
        }
    }

    fn carry_out(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Deliver {
                    connection,
                    frame,
                    from,
                } => {
                    if let Some(taken) = self.seats.get(&connection) {
                        let lost = taken.outbox.push(frame, from);
                        if lost > 0 {
                            self.lost.inc_by(lost as u64);
                        }
                    }
                }
                Effect::Close { connection, code } => {
                    if let Some(taken) = self.seats.remove(&connection) {
                        taken.outbox.close(code);
                    }
                }
            }
        }
    }
}

/// The send limits of each connection.
pub(super) fn limits(settings: &Signaling) -> Limits {
    let burst = settings.byte_burst() as u64;
    Limits {
        messages: Limit::per_second(settings.rate.into(), settings.burst.into()),
        bytes: Limit::per_second(settings.byte_rate.into(), burst),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUE: Issue = Issue::Own { generation: 0 };

    fn hub() -> Arc<Hub> {
        Hub::new(&Signaling::default(), &Metrics::new())
    }

    fn join(hub: &Arc<Hub>, user: &str) -> Seat {
        let outbox = Arc::new(Outbox::new(1000));
        hub.join("lobby", user, ISSUE, false, &outbox)
            .expect("a seat")
    }

    #[test]
    fn a_room_is_forgotten_with_its_last_connection() {
        let hub = hub();
        let seats = [join(&hub, "alice"), join(&hub, "bob")];
        assert_eq!(hub.connected("lobby").len(), 2);
        drop(seats);
        assert!(hub.everybody().is_empty());
        assert_eq!(hub.counts.rooms.get(), 0);
        assert_eq!(hub.counts.connections.get(), 0);
    }

    #[test]
    fn late_leavers_of_a_closed_room_take_no_newcomer_along() {
        let hub = hub();
        let [alice, bob] = [join(&hub, "alice"), join(&hub, "bob")];
        assert_eq!(hub.close_room("lobby", CloseCode::RoomClosed), 2);
        drop(alice);
        let _carol = join(&hub, "carol");
        drop(bob);
        assert_eq!(hub.connected("lobby"), [Arc::from("carol")]);
        assert_eq!(hub.counts.rooms.get(), 1);
    }

    #[test]
    fn a_verdict_from_before_a_doubt_or_a_closing_is_told_by_its_number() {
        let hub = hub();
        let verdicts = [
            Hub::doubt as fn(&Hub),
            |hub| assert!(!hub.close("lobby", "nobody", CloseCode::Removed)),
            |hub| assert_eq!(hub.close_room("lobby", CloseCode::RoomClosed), 0),
        ];
        for change in verdicts {
            let before = hub.closings();
            change(&hub);
            assert_ne!(hub.closings(), before);
        }
    }

    #[test]
    fn nobody_comes_in_after_the_shutdown() {
        let hub = hub();
        let _alice = join(&hub, "alice");
        hub.shutdown();
        assert!(hub.connected("lobby").is_empty());
        let outbox = Arc::new(Outbox::new(1000));
        let late = hub.join("attic", "bob", ISSUE, false, &outbox).err();
        assert_eq!(late, Some(CloseCode::Stopped));
    }
}
