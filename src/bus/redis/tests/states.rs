//! The states of participants, as clients that speak `parlor.v1` see them.

use serde_json::json;

use super::world::{Check, EXTENDED, Known, State, World};
use crate::room::{ConnectionId, Input, Outcome, Participants};

impl World {
    /// A client changes its state.
    pub(super) fn update(&mut self, client: usize) -> Check {
        let sender = &self.clients[client];
        let (node, room, connection) = (sender.node, sender.room, sender.connection);
        if !EXTENDED.contains(&sender.user) {
            return Ok(());
        }
        self.frames += 1;
        let state = State {
            name: format!("{} {}", sender.user, self.frames),
            muted: !sender.state.muted,
        };
        let message = json!({"type": "update", "from": "", "roomId": "",
            "data": {"muted": state.muted, "displayName": state.name}});
        let (text, mut effects) = (message.to_string(), Vec::new());
        if let Some(room) = self.nodes[node].rooms.get_mut(room) {
            let outcome = room.receive(connection, Input::Text(&text), self.now, &mut effects);
            if outcome == Outcome::Handled {
                self.clients[client].state = state;
            }
        }
        self.after(node, room, effects)
    }

    /// A client that speaks `parlor.v1` begins with a roster. If it continues another one, it still waits for those who
    /// are awaited.
    pub(super) fn welcome(
        &mut self,
        index: usize,
        room: &str,
        connection: ConnectionId,
        participants: &Participants,
    ) -> Check {
        let client = self.client_at(index, room, connection);
        let client = client.ok_or("a connection without a client is welcome")?;
        let participants = format!("[{}]", participants.text());
        let participants: Vec<serde_json::Value> = serde_json::from_str(&participants).unwrap();
        let earlier = std::mem::take(&mut self.clients[client].known);
        let unclear = self.clients[client].unclear.clone();
        for participant in &participants {
            self.see(client, participant)?;
            let user = participant["userId"].as_str().unwrap();
            if user == self.clients[client].user {
                continue;
            }
            let other = self.client_of(index, room, user);
            let (other, _) = other.ok_or(format!("client {client} is shown an unknown {user}"))?;
            let is_it =
                |known: &Known| known.client == other || self.continues(other, known.client);
            let offers = earlier
                .get(user)
                .is_some_and(|known| known.offers && is_it(known));
            let known = Known {
                client: other,
                offers,
            };
            self.clients[client].known.insert(user.to_owned(), known);
        }
        let awaited = earlier
            .into_iter()
            .filter(|(user, _)| unclear.contains(user));
        self.clients[client].known.extend(awaited);
        Ok(())
    }

    /// A client sees the state of a participant.
    pub(super) fn see(&mut self, client: usize, participant: &serde_json::Value) -> Check {
        if !EXTENDED.contains(&self.clients[client].user) {
            return Ok(());
        }
        let text = |name: &str| participant[name].as_str().map(str::to_owned);
        let user = text("userId").ok_or(format!("client {client} sees nobody: {participant}"))?;
        let state = State {
            name: text("displayName").unwrap_or_default(),
            muted: participant["state"]["muted"] == true,
        };
        self.clients[client].views.insert(user, state);
        Ok(())
    }
}
