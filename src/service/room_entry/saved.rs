//! The sessions of a room, for the next process.

use std::sync::Arc;

use super::{ConnectionEntry, RoomEntry};
use crate::clock::Mono;
use crate::room::{CloseCode, ConnectionId, SavedMember};
use crate::service::outbox::Outbox;
use crate::service::saved_sessions::{SavedQueue, SavedRoom, SavedSession};

impl RoomEntry {
    /// Saves the sessions, before the room is closed. Their connections send no frame that the next process does not
    /// have.
    pub(in crate::service) fn save_sessions(&mut self) -> Option<SavedRoom> {
        let sessions = self.saved_sessions();
        (!sessions.is_empty()).then(|| SavedRoom {
            room: self.id.to_string(),
            last_chat_message: self.live.last_message,
            shown: self.live.room.clone(),
            sessions,
            roster: None,
        })
    }

    /// Saves a room of several nodes with its sessions. `None` if the room has lost track of the roster.
    pub(in crate::service) fn save_listed(&mut self) -> Option<SavedRoom> {
        Some(SavedRoom {
            room: self.id.to_string(),
            last_chat_message: self.live.last_message,
            shown: self.live.room.clone(),
            roster: Some(self.room.save_roster()?),
            sessions: self.saved_sessions(),
        })
    }

    fn saved_sessions(&mut self) -> Vec<SavedSession> {
        let members = self.room.save_sessions().into_iter();
        let save = |member: SavedMember| {
            let connection = ConnectionId::new(member.connection)?;
            let known = self.connections.get(&connection)?;
            Some(SavedSession {
                queue: known.outbox.save()?,
                member,
                issue: known.issue,
                since: known.since,
                is_token_admin: known.is_token_admin,
            })
        };
        members.filter_map(save).collect()
    }

    /// Closes the connections with sessions because this node restarts. Their members stay, away until `until`, and
    /// `outbox` makes the queue that keeps the frames for them.
    pub(in crate::service) fn detach_sessions(
        &mut self,
        now: Mono,
        until: Mono,
        outbox: impl Fn(&str, SavedQueue) -> Option<Arc<Outbox>>,
    ) {
        for connection in self.room.connected_sessions() {
            let Some(known) = self.connections.get_mut(&connection) else {
                continue;
            };
            let saved = known.outbox.save();
            let Some(detached) = saved.and_then(|saved| outbox(&known.user, saved)) else {
                let code = CloseCode::Restarting;
                self.room.end(connection, code, &mut self.effects);
                continue;
            };
            // The connection sees that its queue is no longer that of the member, and leaves nobody.
            let earlier = std::mem::replace(&mut known.outbox, detached);
            earlier.release();
            earlier.close(CloseCode::Restarting);
            self.room.set_away(connection, now, until);
        }
    }

    /// Whether a client is connected.
    pub(in crate::service) fn has_connections(&self) -> bool {
        let mut connections = self.connections.values();
        connections.any(|known| !known.outbox.is_away())
    }

    /// Restores sessions whose connections are lost, until `until`. `outbox` makes the queue of each. With several nodes,
    /// also restores the roster; without it, nothing.
    pub(in crate::service) fn restore_sessions(
        &mut self,
        saved: SavedRoom,
        now: Mono,
        until: Mono,
        outbox: impl Fn(&str, SavedQueue) -> Option<Arc<Outbox>>,
    ) {
        if self.link.is_some() {
            let restored = saved
                .roster
                .as_ref()
                .map(|one| self.room.restore_roster(one));
            if restored != Some(true) {
                return;
            }
        }
        self.live.last_message = saved.last_chat_message;
        self.live.room = saved.shown;
        for session in saved.sessions {
            let Some(outbox) = outbox(&session.member.user, session.queue) else {
                continue;
            };
            let Some(connection) = self.room.restore(&session.member, now, until) else {
                continue;
            };
            let known = ConnectionEntry {
                user: session.member.user.into(),
                issue: session.issue,
                since: session.since,
                is_token_admin: session.is_token_admin,
                outbox,
                entering: None,
            };
            self.connections.insert(connection, known);
        }
        self.room.end_unsaved_entries();
    }
}
