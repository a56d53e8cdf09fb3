//! Changes that the `parlor.v1` clients of a room see at once.

use super::Hub;
use crate::room::{ChatMessage, Protocol};
use crate::service::room_entry::{RoomEntry, lock};
use crate::storage::{Message, Room, utc};

impl Hub {
    /// The rooms with clients that speak `parlor.v1`.
    pub(in crate::service) fn extended_rooms(&self) -> Vec<String> {
        let rooms = self.occupied_rooms().into_iter();
        let rooms = rooms.map(|(room, _)| room.to_string());
        rooms.filter(|room| self.shows_room(room)).collect()
    }

    /// Whether a client of the room speaks `parlor.v1`.
    pub(in crate::service) fn shows_room(&self, room: &str) -> bool {
        self.with_room(room, |entry| entry.room.has_extended())
            .unwrap_or(false)
    }

    /// The id of the last message that was sent to the clients of a room; `None` if nobody would get a message.
    pub(in crate::service) fn last_chat_message(&self, room: &str) -> Option<i64> {
        self.with_room(room, RoomEntry::last_chat_message).flatten()
    }

    /// Sends messages, in order. One that was sent before is not sent again.
    pub(in crate::service) fn send_chat(&self, room: &str, messages: &[Message]) {
        self.with_room(room, |entry| {
            for message in messages {
                entry.send_chat(&ChatMessage {
                    id: message.id,
                    user: &message.user_id,
                    display_name: &message.display_name,
                    content: &message.content,
                    created_at: &utc::format(message.created_at),
                });
            }
        });
    }

    /// Sends that a message was deleted. Sessions that have yet to get the message do not get it.
    pub(in crate::service) fn send_chat_deleted(&self, room: &str, id: i64) {
        self.with_room(room, |entry| entry.send_chat_deleted(id));
    }

    /// The protocol of a user's client, as far as the room on this node knows; `None` if the user is not connected.
    pub(in crate::service) fn protocol_of(&self, room: &str, user: &str) -> Option<Protocol> {
        self.with_room(room, |entry| entry.room.protocol_of(user))
            .flatten()
    }

    /// Asks a client of this node to mute; false if there is none that speaks `parlor.v1`.
    pub(in crate::service) fn mute(&self, room: &str, user: &str, by: Option<&str>) -> bool {
        self.with_room(room, |entry| {
            let RoomEntry { room, effects, .. } = entry;
            room.mute(user, by, effects)
        })
        .unwrap_or(false)
    }

    /// Sends a client of this node that the path of its media was lost, or is back; false if the user is not connected to
    /// the room here.
    pub(in crate::service) fn send_path_change(
        &self,
        room: &str,
        user: &str,
        is_lost: bool,
    ) -> bool {
        self.with_room(room, |entry| {
            let RoomEntry { room, effects, .. } = entry;
            room.send_path_change(user, is_lost, effects)
        })
        .unwrap_or(false)
    }

    /// Whether any client of this node speaks `parlor.v1`.
    pub(in crate::service) fn has_extended(&self) -> bool {
        self.buckets.iter().any(|bucket| {
            let bucket = lock(bucket);
            bucket.values().any(|entry| lock(entry).room.has_extended())
        })
    }

    /// Sends links, which are a list as JSON, to the `parlor.v1` clients of a room.
    pub(in crate::service) fn send_links(&self, room: &str, links: &str) {
        self.with_room(room, |entry| {
            let RoomEntry { room, effects, .. } = entry;
            room.send_quality(links, effects);
        });
    }

    /// Sends a changed room, with its JSON, unless it was sent like this before.
    pub(in crate::service) fn send_room(&self, room: &Room, json: &str) {
        self.with_room(&room.id, |entry| entry.send_room(room, json));
    }
}
