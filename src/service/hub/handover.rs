//! The connected users and sessions, from one process to the next one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Hub;
use crate::clock::{self, Mono};
use crate::config::Signaling;
use crate::room::{CloseCode, Session};
use crate::service::outbox::Outbox;
use crate::service::room_entry::lock;
use crate::service::saved_sessions::{SavedQueue, SavedRoom};

/// Users who were connected before a restart are expected back for this long.
const RETURN_TIMEOUT: Duration = Duration::from_secs(10);

/// A room, and the users who are connected to it.
type ConnectedUsers = (Arc<str>, Vec<Arc<str>>);

impl Hub {
    /// Closes every connection with 1012, and every later one with 1001. Returns the connected users, whom
    /// the next process expects back, and the sessions. One of several nodes keeps its sessions until
    /// [`Hub::save_rooms`].
    pub fn restart(&self, settings: &Signaling) -> (Vec<ConnectedUsers>, Vec<SavedRoom>) {
        let rooms = self.occupied_rooms();
        let mut sessions = Vec::new();
        let link = self.link.as_ref();
        if link.is_some_and(|link| link.is_available()) && !self.is_draining() {
            self.restart_node(settings);
            return (rooms, sessions);
        }
        if link.is_none() && !self.is_draining() {
            for (room, _) in &rooms {
                let saved = self.with_room(room, |entry| {
                    let saved = entry.save_sessions();
                    // At once: no frame comes after the saved ones.
                    entry
                        .room
                        .close_all(CloseCode::Restarting, &mut entry.effects);
                    saved
                });
                sessions.extend(saved.flatten());
            }
        }
        self.stop(CloseCode::Restarting);
        (rooms, sessions)
    }

    /// Expects these users back in these rooms, and restores sessions. Users without a session who do not return within
    /// ten seconds have left. Call it in a tokio runtime, before any connection.
    pub fn expect_return(
        self: &Arc<Self>,
        rooms: Vec<ConnectedUsers>,
        sessions: Vec<SavedRoom>,
        settings: &Signaling,
    ) {
        // Several nodes keep the users who are expected back in the roster.
        if rooms.is_empty() || self.link.is_some() {
            return;
        }
        let now = clock::now().mono;
        let until = now + RETURN_TIMEOUT;
        for (id, users) in &rooms {
            let mut bucket = lock(self.bucket(id));
            let mut entry = self.new_entry(id);
            entry.room.expect_return(users.iter().cloned(), until);
            bucket.insert(id.clone(), Arc::new(Mutex::new(entry)));
            self.metrics.rooms.inc();
        }
        self.restore_sessions(sessions, settings);
        let hub = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RETURN_TIMEOUT).await;
            // At least `until`, because the timer has another clock.
            let now = clock::now().mono.max(until);
            rooms.iter().for_each(|(room, _)| hub.expire(room, now));
        });
    }

    /// Restores sessions, and with several nodes the place of their rooms in the roster. Call it in a tokio runtime, before
    /// any connection, and before the node is connected to the others.
    pub fn restore_sessions(self: &Arc<Self>, rooms: Vec<SavedRoom>, settings: &Signaling) {
        let grace = self.sessions.grace();
        let now = clock::now().mono;
        let outbox = |user: &str, queue| self.restored_outbox(user, queue, settings);
        for saved in rooms {
            let room: Arc<str> = Arc::from(&*saved.room);
            self.with_new_room(&room, |entry| {
                entry.restore_sessions(saved, now, now + grace, outbox);
                for (user, place) in entry.room.awaited_members() {
                    let link = self.link.as_ref();
                    link.inspect(|link| link.await_return(&room, user, place));
                }
            });
            self.expire_later(&room, now, grace);
        }
    }

    /// The queue of a session without a connection. `None` if its frames are too many.
    pub(super) fn restored_outbox(
        &self,
        user: &str,
        saved: SavedQueue,
        settings: &Signaling,
    ) -> Option<Arc<Outbox>> {
        let session = Session::restore(saved.frames)?;
        let outbox = Outbox::new(settings.max_queue);
        let (buffer, memory) = (settings.resume_buffer(), self.sessions.memory());
        let outbox = outbox.with_session(session, buffer, memory, user);
        outbox.restore(saved.ice_due).then_some(outbox)
    }

    fn expire(&self, room: &str, now: Mono) {
        let mut bucket = lock(self.bucket(room));
        let Some(entry) = bucket.get(room).cloned() else {
            return;
        };
        self.update(&mut bucket, room, &entry, |entry| {
            entry.room.expire(now, &mut entry.effects);
        });
    }
}
