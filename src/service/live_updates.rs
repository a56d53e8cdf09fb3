//! Sends changes of chats and rooms to `parlor.v1` clients.
//!
//! The follower reads the changes from the store, those of other processes as well. So messages arrive in the order of
//! the store, each once, and a message that was deleted meanwhile does not arrive.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::app::App;
use super::live_changes::RoomChanges;
use crate::bus::Event;
use crate::storage::{Changes, ChatChanges, StoreError};

/// Messages that are read at a time.
const PAGE_MESSAGES: u32 = 100;
/// The pause before the store is asked again after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Sends the changes, until `shutdown`.
pub(super) async fn follow(app: Arc<App>, shutdown: CancellationToken) {
    let work = async {
        loop {
            for (room, changes) in app.hub.live_changes.take().await {
                while send(&app, &room, &changes).await.is_err() {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Sends the changes of a room. A repetition after a failure sends no message twice.
async fn send(app: &App, id: &str, changes: &RoomChanges) -> Result<(), StoreError> {
    // Before the deletions, which may concern the messages: one whose text was read before its deletion is deleted then.
    if changes.has_messages {
        send_messages(app, id).await?;
    }
    let room = if changes.is_changed && app.hub.shows_room(id) {
        app.store.find_rooms(id).await?
    } else {
        Vec::new()
    };
    for message in &changes.deleted_messages {
        app.hub.send_chat_deleted(id, *message);
    }
    let room = room.iter().find(|room| room.id == id);
    if let Some(room) = room.filter(|room| room.closed_at.is_none()) {
        let json = app.room_object(room).await.to_string();
        app.hub.send_room(room, &json);
    }
    Ok(())
}

impl App {
    /// Adds changes that another process has committed.
    pub(super) fn add_live_changes(&self, found: &Changes, chats: ChatChanges) {
        let live = &self.hub.live_changes;
        let rooms: Vec<String> = match found {
            Changes::Everything => self.hub.extended_rooms(),
            Changes::Of(subjects) => subjects.rooms.iter().map(|room| room.to_string()).collect(),
        };
        for room in rooms {
            live.add(&Event::RoomChanged { room: room.clone() });
            if *found == Changes::Everything {
                live.add(&Event::MessagePosted { room });
            }
        }
        for room in chats.rooms {
            let room = room.into();
            live.add(&Event::MessagePosted { room });
        }
        for (room, id) in chats.deleted {
            let room = room.into();
            live.add(&Event::MessageDeleted { room, id });
        }
    }
}

/// Sends the messages that were stored since the last ones.
async fn send_messages(app: &App, room: &str) -> Result<(), StoreError> {
    while let Some(last) = app.hub.last_chat_message(room) {
        let messages = app.store.messages_after(room, last, PAGE_MESSAGES).await?;
        app.hub.send_chat(room, &messages);
        if messages.len() < PAGE_MESSAGES as usize {
            break;
        }
    }
    Ok(())
}
