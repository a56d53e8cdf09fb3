//! Rooms as JSON, over HTTP and in frames.

use serde_json::{Value, json};

use super::app::App;
use crate::storage::{Room, utc};

impl App {
    /// Rooms, each with the number of connected users.
    pub async fn room_objects(&self, rooms: &[Room]) -> Vec<Value> {
        let ids: Vec<&str> = rooms.iter().map(|room| &*room.id).collect();
        let counts = self.connected_counts(&ids).await;
        let rooms = rooms.iter().zip(counts);
        rooms
            .map(|(room, connected)| {
                let mut object = room_json(room);
                object["connected"] = Value::from(connected);
                object
            })
            .collect()
    }

    /// A room, with the number of connected users.
    pub async fn room_object(&self, room: &Room) -> Value {
        let mut rooms = self.room_objects(std::slice::from_ref(room)).await;
        rooms.pop().unwrap_or_default()
    }
}

/// A room, without who is connected to it.
pub fn room_json(room: &Room) -> Value {
    json!({
        "id": room.id,
        "name": room.name,
        "private": room.private,
        "max_participants": room.max_participants,
        "owner_id": room.owner_id,
        "created_at": utc::format(room.created_at),
        "locked": room.locked,
    })
}
