//! Rooms: create, change, close, delete.

use super::app::App;
use super::apply::Ended;
use crate::bus::{Departure, Event};
use crate::clock;
use crate::storage::{ChangeError, ClosedRoom, CreateError, NewRoom, Room, RoomChange, StoreError};

impl App {
    /// Creates a room.
    pub async fn create_room(&self, new: NewRoom) -> Result<Room, CreateError> {
        let event = |room: &Room| {
            Some(Event::RoomOpened {
                room: room.id.clone(),
            })
        };
        let change = self.store.create_room(new);
        let (room, _) = self.commit(self.order.shared(), change, event).await?;
        Ok(room)
    }

    /// Changes the name, the visibility or the capacity of a room.
    pub async fn change_room(&self, id: &str, change: RoomChange) -> Result<Room, ChangeError> {
        let event = |room: &Room| {
            Some(Event::RoomChanged {
                room: room.id.clone(),
            })
        };
        let change = self.store.change_room(id, change);
        let (room, _) = self.commit(self.order.shared(), change, event).await?;
        Ok(room)
    }

    /// Closes a room for good. `None` if it does not exist.
    pub async fn close_room(&self, id: &str) -> Result<Option<(ClosedRoom, Ended)>, StoreError> {
        let change = self.store.close_room(id, clock::now().unix);
        self.commit_exclusively(change, closed).await
    }

    /// Closes a room and deletes its content. `None` if it does not exist.
    pub async fn delete_room(&self, id: &str) -> Result<Option<(ClosedRoom, Ended)>, StoreError> {
        let change = self.store.delete_room(id, clock::now().unix);
        self.commit_exclusively(change, closed).await
    }
}

/// The event of a closed room. Allocations without a room also end, for members of no other room.
fn closed(closed: &ClosedRoom) -> Event {
    let departures = closed.ended_memberships.iter().map(|departure| Departure {
        user: departure.user.clone(),
        elsewhere: departure.elsewhere,
        next_generation: departure.next_generation,
    });
    Event::RoomClosed {
        room: closed.room.id.clone(),
        departures: departures.collect(),
    }
}
