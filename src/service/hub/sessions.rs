//! Sessions of `parlor.v1` clients: kept while their connection is lost, and resumed by another one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Hub, RoomHandle};
use crate::clock::{self, Mono};
use crate::config::Signaling;
use crate::room::{AWAY_NOTICE, Role, Session};
use crate::service::outbox::Outbox;
use crate::service::resume_token::random_secret;
use crate::service::room_entry::{Resumption, RoomEntry, lock};

impl Hub {
    /// The queue of a connection of `user` that speaks `parlor.v1`.
    pub fn session_outbox(&self, settings: &Signaling, user: &str) -> Arc<Outbox> {
        let outbox = Outbox::new(settings.max_queue);
        let session = Session::new(random_secret());
        let buffer_bytes = settings.resume_buffer();
        outbox.with_session(session, buffer_bytes, self.sessions.memory(), user)
    }

    /// Continues a session on another connection, whose frames go to `outbox`. `None` if it cannot be resumed: the
    /// user has to join.
    pub fn resume(
        self: &Arc<Self>,
        room: &str,
        resumption: &Resumption<'_>,
        outbox: &Arc<Outbox>,
    ) -> Option<RoomHandle> {
        let bucket = lock(self.bucket(room));
        if self.stopped.load(Ordering::SeqCst) || self.is_draining() {
            return None;
        }
        let (room, entry) = bucket.get_key_value(room)?;
        let (room, entry) = (room.clone(), entry.clone());
        let mut resumed = lock(&entry);
        let connection = resumed.resume(resumption, outbox, clock::now())?;
        let shown = resumed.room.role(resumption.user);
        drop(resumed);
        if shown != Some(resumption.role) {
            self.role_changes.add(&room, &[resumption.user.to_owned()]);
        }
        self.metrics.connections.inc();
        Some(RoomHandle {
            hub: self.clone(),
            room,
            entry,
            connection,
            closed_by_client: false,
            session: Some(outbox.clone()),
            keeps_session: true,
            entered: None,
        })
    }

    /// Whether a living connection of the user has resumed the session of this token, and has a newer token: the client
    /// has given up the attempt that brings the old one.
    pub fn is_replaced(&self, room: &str, user: &str, token: &str) -> bool {
        self.with_room(room, |entry| entry.is_replaced(user, token))
            .unwrap_or(false)
    }

    /// Has the roles of these users read from the store, and shown to the room.
    pub(in crate::service) fn read_roles(&self, room: &str, users: &[String]) {
        // First: a user who is connecting now, with an earlier role, is checked again after the entry.
        self.invalidate();
        self.role_changes.add(room, users);
    }

    /// Compares a role that was read from the store with the one that the room shows, and has it read again if it is
    /// another: one task reads and shows all changes, so that an older role never follows a newer one.
    pub(in crate::service) fn compare_role(&self, room: &str, user: &str, role: Role) {
        let shown = self.with_room(room, |entry| {
            let role = entry.role_with_token(user, role);
            entry.room.role(user).is_none_or(|shown| shown == role)
        });
        if shown == Some(false) {
            self.role_changes.add(room, &[user.to_owned()]);
        }
    }

    /// Records a role of a user, as the store has it. Does nothing if the user is not connected.
    pub(in crate::service) fn set_role(&self, room: &str, user: &str, role: Role) {
        self.with_room(room, |entry| {
            let role = entry.role_with_token(user, role);
            entry.room.set_role(user, role, &mut entry.effects);
        });
    }

    /// Whether a user is connected to a room with a token that makes its bearer an admin.
    pub(in crate::service) fn is_token_admin(&self, room: &str, user: &str) -> bool {
        self.with_room(room, |entry| entry.is_token_admin(user))
            .unwrap_or(false)
    }

    /// Keeps the session of a connection that ends, or leaves it to the connection that resumed it. Returns false if
    /// the connection has to leave.
    pub(super) fn keep_session(&self, handle: &RoomHandle, entry: &mut RoomEntry) -> bool {
        let Some(outbox) = &handle.session else {
            return false;
        };
        let connection = handle.connection;
        if entry.connections.contains_key(&connection) && !entry.is_current(connection, outbox) {
            return true;
        }
        let is_stopping = self.is_draining() || self.stopped.load(Ordering::SeqCst);
        let grace = self.sessions.grace();
        if !handle.keeps_session || is_stopping || grace.is_zero() {
            return false;
        }
        let now = clock::now();
        let is_kept = entry.detach(connection, now, grace);
        if is_kept {
            handle.hub.expire_later(&handle.room, now.mono, grace);
        }
        is_kept
    }

    /// Removes the sessions of a room whose time is over. Not during a drain: their users may still be talking.
    fn expire_sessions(&self, room: &str, now: Mono) {
        if self.is_draining() {
            return;
        }
        let mut bucket = lock(self.bucket(room));
        let Some(entry) = bucket.get(room).cloned() else {
            return;
        };
        self.update(&mut bucket, room, &entry, |entry| {
            entry.room.expire_away(now, &mut entry.effects);
        });
    }

    /// Expires what is due in a room after each of these times.
    pub(super) fn expire_later(self: &Arc<Self>, room: &Arc<str>, lost: Mono, grace: Duration) {
        let (hub, room) = (self.clone(), room.clone());
        tokio::spawn(async move {
            let mut passed = Duration::ZERO;
            for after in [AWAY_NOTICE.min(grace), grace] {
                tokio::time::sleep(after - passed).await;
                passed = after;
                // At least `after`, because the timer has another clock.
                let now = clock::now().mono.max(lost + after);
                hub.expire_sessions(&room, now);
            }
        });
    }
}

#[cfg(test)]
mod tests;
