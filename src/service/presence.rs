//! Which members of a room are connected, on any node.

use std::collections::HashSet;
use std::sync::Arc;

use super::app::App;
use crate::clock;
use crate::storage::StoreError;

/// The connected users of a room.
pub struct Presence {
    pub connected: HashSet<Arc<str>>,
    /// Whether they are all. Not while this node drains, and not while it cannot ask the others.
    pub is_complete: bool,
}

impl App {
    /// The users who are connected to a room, on any node.
    ///
    /// # Errors
    /// The store failed, which is asked for the members of a room without connections to this node.
    pub async fn presence(&self, room: &str) -> Result<Presence, StoreError> {
        let mut connected: HashSet<_> = self.hub.connected(room).into_iter().collect();
        let mut is_complete = true;
        if let Some(link) = self.hub.link() {
            if !connected.is_empty() && link.is_available() {
                // The roster of a room with connections has the members on all nodes.
                connected.extend(self.hub.connected_elsewhere(room));
            } else {
                let members = self.store.participants(room, clock::now().unix).await?;
                let users: Vec<_> = members.iter().map(|m| (room, &*m.user_id)).collect();
                let are_members = link.are_members(&users).await;
                is_complete = are_members.is_some();
                let listed = are_members.unwrap_or_default().into_iter().zip(&members);
                let listed = listed.filter(|(is_member, _)| *is_member);
                connected.extend(listed.map(|(_, member)| Arc::from(&*member.user_id)));
            }
        }
        Ok(Presence {
            connected,
            // Asked last: a drain that begins meanwhile has not closed any connection before.
            is_complete: is_complete && !self.is_draining(),
        })
    }

    /// The number of users who are connected to each of these rooms, on any node. While this node cannot ask the
    /// others, it is what the node knows.
    pub async fn connected_counts(&self, rooms: &[&str]) -> Vec<usize> {
        if let Some(link) = self.hub.link()
            && let Some(counts) = link.count_members(rooms).await
        {
            return counts;
        }
        let known = |room: &&str| {
            let connected = self.hub.connected(room).len();
            connected + self.hub.connected_elsewhere(room).len()
        };
        rooms.iter().map(known).collect()
    }
}
