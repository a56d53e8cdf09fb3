//! The frames of a room's chat.

use bytes::Bytes;

use super::envelope::quoted;

/// A stored message of a room's chat.
#[derive(Debug, Clone, Copy)]
pub struct ChatMessage<'a> {
    /// Grows with each message.
    pub id: i64,
    /// The id of the author.
    pub user: &'a str,
    pub display_name: &'a str,
    pub content: &'a str,
    /// UTC, as over HTTP.
    pub created_at: &'a str,
}

impl ChatMessage<'_> {
    /// The frame with the message. `room` is the room's id as JSON.
    pub(super) fn render(&self, room: &str) -> Bytes {
        let user = quoted(self.user);
        Bytes::from(format!(
            r#"{{{}"userId":{user},"displayName":{},"content":{},"createdAt":{}}},"from":{user},"roomId":{room}}}"#,
            beginning(self.id),
            quoted(self.display_name),
            quoted(self.content),
            quoted(self.created_at),
        ))
    }
}

/// The frame for a deleted message. `room` is the room's id as JSON.
pub(super) fn deleted(id: i64, room: &str) -> Bytes {
    let frame = format!(r#"{{"type":"chat-deleted","data":{{"id":{id}}},"roomId":{room}}}"#);
    Bytes::from(frame)
}

/// Whether a frame of the server has the chat message with this id. The frame may have a `seq`.
pub fn is_chat_message(frame: &[u8], id: i64) -> bool {
    let without_seq = || {
        let numbered = frame.strip_prefix(br#"{"seq":"#)?;
        let comma = numbered.iter().position(|byte| *byte == b',')?;
        numbered.get(comma + 1..)
    };
    let rest = without_seq().or_else(|| frame.strip_prefix(b"{"));
    rest.is_some_and(|rest| rest.starts_with(beginning(id).as_bytes()))
}

/// The keys before those that a deletion hides.
fn beginning(id: i64) -> String {
    format!(r#""type":"chat","data":{{"id":{id},"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Session;

    #[test]
    fn a_frame_is_recognized_by_the_id_of_its_message_with_and_without_a_number() {
        let message = ChatMessage {
            id: 17,
            user: "alice",
            display_name: "Alice \"A.\"",
            content: "a\nb",
            created_at: "2026-01-31T12:00:00Z",
        };
        let frame = message.render("\"lobby\"");
        let numbered = Bytes::from(Session::new([0; 16]).number(frame.clone()));
        for frame in [&frame, &numbered] {
            assert!(is_chat_message(frame, 17));
            assert!(!is_chat_message(frame, 1) && !is_chat_message(frame, 7));
        }
        let value: serde_json::Value = serde_json::from_slice(&frame).expect("JSON");
        let expected = serde_json::json!({
            "type": "chat",
            "data": {
                "id": 17,
                "userId": "alice",
                "displayName": "Alice \"A.\"",
                "content": "a\nb",
                "createdAt": "2026-01-31T12:00:00Z",
            },
            "from": "alice",
            "roomId": "lobby",
        });
        assert_eq!(value, expected);
        for other in [&deleted(17, "\"lobby\"")[..], b"", b"{", br#"{"seq":1}"#] {
            assert!(!is_chat_message(other, 17));
        }
    }
}
