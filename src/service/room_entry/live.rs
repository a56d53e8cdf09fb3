//! The chat of a room, as its `parlor.v1` clients get it.

use super::RoomEntry;
use crate::room::{ChatMessage, is_chat_message};
use crate::service::live_state::ShownRoom;
use crate::storage::Room;

impl RoomEntry {
    /// Sends the changed room, unless it was sent like this before.
    pub(in crate::service) fn send_room(&mut self, room: &Room, json: &str) {
        let room = ShownRoom::new(room);
        if self.live.room.as_ref() != Some(&room) {
            self.live.room = Some(room);
            self.room.send_room(json, &mut self.effects);
        }
    }

    /// The id of the last message that was sent; `None` if nobody would get a message.
    pub(in crate::service) fn last_chat_message(&mut self) -> Option<i64> {
        if !self.room.has_extended() {
            // A newcomer must not get the messages of the time without clients.
            self.live.last_message = None;
        }
        self.live.last_message
    }

    /// Sends a message, unless it was sent before.
    pub(in crate::service) fn send_chat(&mut self, message: &ChatMessage<'_>) {
        if self.live.last_message.is_some_and(|last| last < message.id) {
            self.live.last_message = Some(message.id);
            self.room.send_chat(message, &mut self.effects);
        }
    }

    /// Sends that a message was deleted, and removes it from the queues.
    pub(in crate::service) fn send_chat_deleted(&mut self, id: i64) {
        let frame = self.room.send_chat_deleted(id, &mut self.effects);
        for known in self.connections.values() {
            let is_deleted = |queued: &[u8]| is_chat_message(queued, id);
            known.outbox.remove_frames(is_deleted, &frame);
        }
    }
}
