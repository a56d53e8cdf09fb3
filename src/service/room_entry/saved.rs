//! The sessions of a room, for the next process.

use std::sync::Arc;

use super::{ConnectionEntry, RoomEntry};
use crate::clock::Mono;
use crate::room::{ConnectionId, SavedMember};
use crate::service::outbox::Outbox;
use crate::service::saved_sessions::{SavedRoom, SavedSession};

impl RoomEntry {
    /// Saves the sessions, before the room is closed. Their connections send no frame that the next process does not
    /// have.
    pub(in crate::service) fn save_sessions(&mut self) -> Option<SavedRoom> {
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
        let sessions: Vec<SavedSession> = members.filter_map(save).collect();
        (!sessions.is_empty()).then(|| SavedRoom {
            room: self.id.to_string(),
            last_chat_message: self.live.last_message,
            sessions,
        })
    }

    /// Restores sessions whose connections are lost, until `until`. `outbox` makes the queue of each.
    pub(in crate::service) fn restore_sessions(
        &mut self,
        saved: SavedRoom,
        now: Mono,
        until: Mono,
        outbox: impl Fn(&SavedSession) -> Option<Arc<Outbox>>,
    ) {
        self.live.last_message = saved.last_chat_message;
        for session in saved.sessions {
            let Some(outbox) = outbox(&session) else {
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
    }
}
