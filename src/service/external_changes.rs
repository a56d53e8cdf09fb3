//! Applies changes that another process committed to the database, such as a command of the CLI.
//!
//! The events are the differences between the revocations in the store and the known ones. Then the
//! connections that the changes may concern are checked, for changes that no revocation shows.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::admission::read_access;
use super::app::App;
use super::apply::{Applied, ChangeSource, LostAccess};
use super::cluster::protocol::Revocation;
use super::hub::Hub;
use crate::bus::Event;
use crate::clock;
use crate::credential::{MembershipKey, Revocations, RevokedGenerations, RevokedSet};
use crate::room::CloseCode;
use crate::storage::{BannedUser, Changes, ChatChanges, EndedMembership, Store, StoreError};

/// The list of revocations is also read at this interval, to drop guests that the store has deleted.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// More connections than this that wait for a check, some of them more than once, become every connection.
const MAX_UNCHECKED: usize = 10_000;
/// Pause before changes that could not be read are read again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The store's revocations.
struct StoredRevocations {
    revoked: RevokedSet,
    open_rooms: Vec<String>,
    /// Memberships that have ended, also those of users who returned.
    ended: Vec<EndedMembership>,
    bans: Vec<BannedUser>,
}

async fn read_revocations(
    store: &Store,
    changes: &Changes,
) -> Result<StoredRevocations, StoreError> {
    let stored = store.revocations(clock::now().unix, changes).await?;
    let later = stored.later_memberships.into_iter();
    let returned = later.map(|(user, room, next_generation)| EndedMembership {
        user,
        room,
        elsewhere: true,
        next_generation,
    });
    let mut ended = stored.ended_memberships;
    ended.extend(returned);
    let before = ended.iter().map(|ended| {
        let generations = RevokedGenerations::ended(ended.next_generation);
        (pair(&ended.user, &ended.room), generations)
    });
    let banned = stored.bans.iter();
    let banned = banned.map(|ban| (pair(&ban.user, &ban.room), RevokedGenerations::All));
    let revoked = RevokedSet {
        users: stored.users.into_iter().map(Box::from).collect(),
        rooms: stored.rooms.into_iter().map(Box::from).collect(),
        // A banned user may have a membership: the ban is the last word.
        memberships: before.chain(banned).collect(),
        generations: stored
            .generations
            .into_iter()
            .map(|(user, generation)| (user.into(), generation))
            .collect(),
    };
    Ok(StoredRevocations {
        revoked,
        open_rooms: stored.open_rooms,
        ended,
        bans: stored.bans,
    })
}

fn pair(user: &str, room: &str) -> MembershipKey {
    (user.into(), room.into())
}

/// Loads the revocations from the store into the relay's list, so that a restart keeps them.
pub async fn load_revocations(store: &Store, revocations: &Revocations) -> Result<(), StoreError> {
    let stored = read_revocations(store, &Changes::Everything).await?;
    add_rooms(revocations, &stored);
    revocations.replace(stored.revoked);
    Ok(())
}

fn add_rooms(revocations: &Revocations, stored: &StoredRevocations) {
    revocations.add_rooms(stored.revoked.rooms.iter().map(|room| &**room));
    revocations.add_rooms(stored.open_rooms.iter().map(String::as_str));
}

/// Applies the events that follow from each change of another process, until the store closes. After
/// `shutdown` no connection is checked. What could not be read is read again after a pause.
pub(super) async fn follow(
    app: Arc<App>,
    revocations: Arc<Revocations>,
    shutdown: CancellationToken,
) {
    let mut changes = app.store.changes();
    let mut follower = Follower {
        app: &app,
        revocations: &revocations,
        changes: Changes::default(),
        restored: Vec::new(),
        unchecked: VecDeque::new(),
    };
    let mut has_failed = false;
    let mut refreshed_at = clock::now().mono;
    // Changes since the end of the process from which the connections are.
    let mut has_inherited = !app.hub.connections().is_empty();
    if has_inherited {
        app.add_live_changes(&Changes::Everything, ChatChanges::default());
        follower.add_unchecked(&Changes::Everything);
    }
    loop {
        let wait = if std::mem::take(&mut has_inherited) {
            Duration::ZERO
        } else if has_failed {
            RETRY_PAUSE
        } else {
            REFRESH_INTERVAL.saturating_sub(clock::now().mono.since(refreshed_at))
        };
        let changed = tokio::time::timeout(wait, next_change(&app, &mut changes)).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
        // First: a user who is connecting now is in no list of connections yet.
        app.hub.invalidate();
        let mut found = Changes::default();
        if changed.is_ok() {
            found = app.store.take_changes();
            app.add_live_changes(&found, app.store.take_chat_changes());
            follower.changes.add(found.clone());
        }
        let now = clock::now().mono;
        if now.since(refreshed_at) >= REFRESH_INTERVAL {
            follower.changes.add(Changes::Everything);
        }
        if follower.changes == Changes::Everything {
            refreshed_at = now;
        }
        let applied = follower.apply_changes().await;
        // After the events, which have closed some of the connections.
        follower.add_unchecked(&found);
        // The future is dropped at the shutdown, which closes every connection.
        let checked = shutdown.run_until_cancelled(follower.check()).await;
        if checked.is_none() {
            follower.unchecked.clear();
        }
        let failure = applied.and(checked.unwrap_or(Ok(()))).err();
        if let Some(error) = failure.as_ref().filter(|_| !has_failed) {
            tracing::error!(%error, "reading the changes of another process failed");
        }
        has_failed = failure.is_some();
    }
}

/// Waits for the next change. Polls at once when another node announces one.
async fn next_change(
    app: &App,
    changes: &mut watch::Receiver<u64>,
) -> Result<(), watch::error::RecvError> {
    loop {
        tokio::select! {
            changed = changes.changed() => return changed,
            () = app.hub.changes.announced() => app.store.poll_changes(),
        }
    }
}

/// Applies changes of other processes, and keeps what a failure of the store has left to do.
struct Follower<'a> {
    app: &'a App,
    revocations: &'a Revocations,
    /// Changes whose events are still to come.
    changes: Changes,
    /// Users who are no longer revoked, and whose events are still to come.
    restored: Vec<Box<str>>,
    /// Connections that are still to be checked, as (room, user).
    unchecked: VecDeque<(Arc<str>, Arc<str>)>,
}

impl Follower<'_> {
    fn add_unchecked(&mut self, found: &Changes) {
        self.unchecked.extend(connections(&self.app.hub, found));
        if *found == Changes::Everything || self.unchecked.len() > MAX_UNCHECKED {
            // Each once.
            self.unchecked = connections(&self.app.hub, &Changes::Everything).into();
        }
    }

    /// Compares the store's revocations with the known ones, and applies the differences as events.
    async fn apply_changes(&mut self) -> Result<(), StoreError> {
        if !self.changes.is_empty() {
            // Most changes revoke nothing. Without a guard, which would hold back every change of this process.
            let stored = read_revocations(&self.app.store, &self.changes).await?;
            add_rooms(self.revocations, &stored);
            let is_current = match &self.changes {
                Changes::Everything => self.revocations.is_current(&stored.revoked),
                Changes::Of(subjects) => {
                    let part = stored.revoked.of(subjects);
                    self.revocations.is_current_part(subjects, &part)
                }
            };
            if !is_current {
                self.apply_differences().await?;
            }
            self.changes = Changes::default();
        }
        // Last, because a failed read must not prevent the other events.
        while let Some(user) = self.restored.last() {
            // A guest whom the store has deleted was not enabled.
            let found = self.app.store.find_users(user).await?;
            if found.iter().any(|known| *known.id == **user) {
                let user = user.to_string();
                let source = ChangeSource::AnotherProcess(Vec::new());
                self.app.apply(Event::UserEnabled { user }, source);
            }
            self.restored.pop();
        }
        Ok(())
    }

    async fn apply_differences(&mut self) -> Result<(), StoreError> {
        let _exclusive = self.app.order.exclusive().await;
        // Again: this process may have changed the list, or the store, since.
        let stored = read_revocations(&self.app.store, &self.changes).await?;
        add_rooms(self.revocations, &stored);
        let (before, now) = match &self.changes {
            Changes::Everything => {
                let before = self.revocations.replace(stored.revoked.clone());
                (before, stored.revoked)
            }
            Changes::Of(subjects) => {
                let now = stored.revoked.of(subjects);
                let before = self.revocations.replace_part(subjects, now.clone());
                (before, now)
            }
        };
        let restored = before.users.difference(&now.users).cloned();
        self.restored.extend(restored);
        self.restored.retain(|user| !now.users.contains(user));
        let events: Vec<_> = user_events(&before, &now)
            .chain(room_events(&before, &now))
            .chain(membership_events(
                &stored.ended,
                &stored.bans,
                &before,
                &now,
            ))
            .collect();
        let closed = now.rooms.difference(&before.rooms).cloned().collect();
        for event in events {
            let lost = self.lost_access_of(&event).await;
            let applied = self.app.apply(event, ChangeSource::AnotherProcess(lost));
            self.record(applied, &closed);
        }
        self.app.hub.ended.applied.notify_waiters();
        Ok(())
    }

    /// Records the effect of an event for the node that committed the change. The ends of memberships in rooms that
    /// were `closed` belong to the closing.
    fn record(&self, applied: Applied, closed: &HashSet<Box<str>>) {
        if self.app.hub.link().is_none() {
            return;
        }
        let Applied {
            event,
            connections,
            relays,
        } = applied;
        if let Some(revocation) = revocation(event, closed) {
            self.app.hub.ended.record(revocation, connections, relays);
        }
    }

    /// Returns the connections of an event's users and rooms that have lost access. Those that cannot be
    /// checked now are checked later.
    async fn lost_access_of(&mut self, event: &Event) -> Vec<LostAccess> {
        let mut lost = Vec::new();
        let mut connections = connections_of(&self.app.hub, event).into_iter();
        for (room, user) in connections.by_ref() {
            match lost_access(self.app, &room, &user).await {
                Ok(Some(code)) => lost.push(LostAccess { room, user, code }),
                Ok(None) => {}
                Err(_) => {
                    self.unchecked.push_back((room, user));
                    break;
                }
            }
        }
        self.unchecked.extend(connections);
        lost
    }

    /// Checks connections, and applies an event for each that has lost access otherwise than by the events of
    /// [`Follower::apply_changes`]: somebody may have written any SQL.
    async fn check(&mut self) -> Result<(), StoreError> {
        for _ in 0..self.unchecked.len() {
            let Some((room, user)) = self.unchecked.pop_front() else {
                break;
            };
            if let Err(error) = self.check_connection(&room, &user).await {
                // Behind the others, so that it does not hold them back again.
                self.unchecked.push_back((room, user));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn check_connection(&self, room: &Arc<str>, user: &Arc<str>) -> Result<(), StoreError> {
        if lost_access(self.app, room, user).await?.is_none() {
            return Ok(());
        }
        let _ordered = self.app.order.of_user(user).await;
        // Again: the user may have joined the room before the lock was taken.
        let Some(code) = lost_access(self.app, room, user).await? else {
            return Ok(());
        };
        let event = Event::AccessLost {
            user: user.to_string(),
            room: room.to_string(),
        };
        let lost = vec![LostAccess {
            room: room.clone(),
            user: user.clone(),
            code,
        }];
        self.app.apply(event, ChangeSource::AnotherProcess(lost));
        Ok(())
    }
}

/// Users who were disabled, deleted or signed out.
fn user_events<'a>(
    before: &'a RevokedSet,
    now: &'a RevokedSet,
) -> impl Iterator<Item = Event> + 'a {
    let removed = now
        .users
        .difference(&before.users)
        .map(|user| Event::UserDisabled {
            user: user.to_string(),
            generation: now.generations.get(user).copied().unwrap_or(0),
        });
    let signed_out = now.generations.iter().filter(|(user, generation)| {
        let known = before.generations.get(*user).unwrap_or(&0);
        known != *generation && !now.users.contains(*user)
    });
    removed.chain(signed_out.map(|(user, generation)| Event::SignedOut {
        user: user.to_string(),
        generation: *generation,
    }))
}

/// Rooms that were closed; their departures are events of their own.
fn room_events<'a>(
    before: &'a RevokedSet,
    now: &'a RevokedSet,
) -> impl Iterator<Item = Event> + 'a {
    let closed = now.rooms.difference(&before.rooms);
    closed.map(|room| Event::RoomClosed {
        room: room.to_string(),
        departures: Vec::new(),
    })
}

/// Users who were banned, and memberships that ended. A user may have returned since: then credentials of the
/// earlier memberships are revoked, and the connection stays.
fn membership_events<'a>(
    ended: &'a [EndedMembership],
    bans: &'a [BannedUser],
    before: &'a RevokedSet,
    now: &'a RevokedSet,
) -> impl Iterator<Item = Event> + 'a {
    let is_new = |user: &str, room: &str, generations: RevokedGenerations| {
        let pair = pair(user, room);
        let known = before.memberships.get(&pair).copied();
        now.memberships.get(&pair) == Some(&generations) && generations.is_more_than(known)
    };
    let banned = bans
        .iter()
        .filter(move |ban| is_new(&ban.user, &ban.room, RevokedGenerations::All));
    let banned = banned.map(|ban| Event::Banned {
        user: ban.user.clone(),
        room: ban.room.clone(),
        elsewhere: ban.elsewhere,
    });
    let left = ended.iter().filter(move |ended| {
        let generations = RevokedGenerations::ended(ended.next_generation);
        is_new(&ended.user, &ended.room, generations)
    });
    let left = left.map(|ended| Event::Left {
        user: ended.user.clone(),
        room: ended.room.clone(),
        was_member: true,
        elsewhere: ended.elsewhere,
        next_generation: ended.next_generation,
    });
    banned.chain(left)
}

/// Returns the change of which an event is the effect.
fn revocation(event: Event, closed: &HashSet<Box<str>>) -> Option<Revocation> {
    Some(match event {
        Event::UserDisabled { user, generation } | Event::SignedOut { user, generation } => {
            Revocation::User { user, generation }
        }
        Event::RoomClosed { room, .. } => Revocation::Room { room },
        Event::Left { room, .. } if closed.contains(&*room) => Revocation::Room { room },
        Event::Left {
            user,
            room,
            next_generation,
            ..
        } => Revocation::Membership {
            user,
            room,
            next_generation,
        },
        Event::Banned { user, room, .. } => Revocation::Ban { user, room },
        _ => return None,
    })
}

/// Returns the connections that an event may end, as (room, user).
fn connections_of(hub: &Hub, event: &Event) -> Vec<(Arc<str>, Arc<str>)> {
    match event {
        Event::Left { user, room, .. } | Event::Banned { user, room, .. }
            if hub.is_connected(room, user) =>
        {
            vec![(room.as_str().into(), user.as_str().into())]
        }
        Event::RoomClosed { room, .. } => {
            let users = hub.connected(room).into_iter();
            users.map(|user| (room.as_str().into(), user)).collect()
        }
        Event::UserDisabled { user, .. } | Event::SignedOut { user, .. } => {
            let rooms = hub.rooms_of(user).into_iter();
            rooms.map(|room| (room, user.as_str().into())).collect()
        }
        _ => Vec::new(),
    }
}

/// The connections that changes may concern, as (room, user).
fn connections(hub: &Hub, changes: &Changes) -> Vec<(Arc<str>, Arc<str>)> {
    let Changes::Of(subjects) = changes else {
        return all_connections(hub, |_| true);
    };
    let mut found = Vec::new();
    if !subjects.users.is_empty() {
        found = all_connections(hub, |user| subjects.users.contains(user));
    }
    for room in &subjects.rooms {
        let room: Arc<str> = (&**room).into();
        let users = hub.connected(&room).into_iter();
        found.extend(users.map(|user| (room.clone(), user)));
    }
    for (user, room) in &subjects.memberships {
        if hub.is_connected(room, user) {
            found.push(((&**room).into(), (&**user).into()));
        }
    }
    found
}

/// The connections of these users.
fn all_connections(hub: &Hub, is_of: impl Fn(&str) -> bool) -> Vec<(Arc<str>, Arc<str>)> {
    let mut found = Vec::new();
    for (room, users) in hub.occupied_rooms() {
        let users = users.into_iter().filter(|user| is_of(user));
        found.extend(users.map(|user| (room.clone(), user)));
    }
    found
}

/// Returns the close code if a connected user may no longer be in a room. The store decides: its failure
/// disconnects nobody. A role that is not the one that the room shows is read again.
async fn lost_access(app: &App, room: &str, user: &str) -> Result<Option<CloseCode>, StoreError> {
    // `None` for users who are expected back after a restart.
    let issue = app.hub.issue(room, user);
    Ok(match read_access(app, user, room, issue).await? {
        Ok(role) => {
            app.hub.compare_role(room, user, role);
            None
        }
        // The user may have reconnected with a new token meanwhile.
        Err(CloseCode::AuthenticationFailed) if app.hub.issue(room, user) != issue => None,
        Err(code) => Some(code),
    })
}
