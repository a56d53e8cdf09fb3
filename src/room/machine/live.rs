//! Changes that members of `parlor.v1` see at once: the chat, the room itself, and what the relay notices.

use bytes::Bytes;

use super::{Effect, Room, deliver};
use crate::room::chat::{self, ChatMessage};
use crate::room::server_frame::ServerFrame;

impl Room {
    /// Whether a member speaks `parlor.v1`, with or without a connection.
    pub fn has_extended(&self) -> bool {
        self.extended > 0
    }

    /// The number of members of this node that speak `parlor.v1`, with or without a connection.
    pub fn extended_count(&self) -> usize {
        self.extended
    }

    /// Sends a message of the chat.
    pub fn send_chat(&self, message: &ChatMessage<'_>, effects: &mut Vec<Effect>) {
        self.send_to_extended(&message.render(&self.id), effects);
    }

    /// Sends that a message of the chat was deleted. Returns the frame.
    pub fn send_chat_deleted(&self, id: i64, effects: &mut Vec<Effect>) -> Bytes {
        let frame = chat::deleted(id, &self.id);
        self.send_to_extended(&frame, effects);
        frame
    }

    /// Sends the changed room, which is JSON as over HTTP.
    pub fn send_room(&self, room: &str, effects: &mut Vec<Effect>) {
        let frame = ServerFrame::RoomUpdated { room }.render(&self.id);
        self.send_to_extended(&frame, effects);
    }

    /// Sends a member of this node that the path of its media to the relay was lost, or is back. A plain client, and one
    /// without a connection, gets nothing. Returns whether the user is a member of this node.
    pub fn send_path_change(&self, user: &str, is_lost: bool, effects: &mut Vec<Effect>) -> bool {
        let Some(connection) = self.by_user.get(user) else {
            return false;
        };
        let member = self.members.get(connection);
        let extended = member.and_then(|member| member.extended.as_ref());
        if extended.is_some_and(|extended| extended.away.is_none()) {
            let frame = ServerFrame::PathChanged { is_lost }.render(&self.id);
            effects.push(deliver(*connection, &frame, None));
        }
        true
    }

    /// Sends the quality of links, which are a list as JSON, to the members with a connection.
    pub fn send_quality(&self, links: &str, effects: &mut Vec<Effect>) {
        let frame = ServerFrame::Quality { links }.render(&self.id);
        for (connection, member) in &self.members {
            if member.extended.is_some() && !member.is_away() {
                effects.push(deliver(*connection, &frame, None));
            }
        }
    }

    fn send_to_extended(&self, frame: &Bytes, effects: &mut Vec<Effect>) {
        let members = self.members.iter();
        let extended = members.filter(|(_, member)| member.extended.is_some());
        effects.extend(extended.map(|(id, _)| deliver(*id, frame, None)));
    }
}

#[cfg(test)]
mod tests;
