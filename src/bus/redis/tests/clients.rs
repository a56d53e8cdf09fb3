//! The clients: what they send, and what they know of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redis::{Value, cmd};
use serde_json::json;

use super::world::{Check, Client, EXTENDED, Known, State, World};
use crate::room::{CloseCode, ConnectionId, Effect, Entrant, Input, Profile, Request, Role, Room};

impl World {
    /// Opens a connection of a user.
    pub(super) fn enter(&mut self, index: usize, user: &'static str, name: &'static str) -> Check {
        self.enter_again(index, user, name, None)
    }

    /// Opens a connection that resumes an earlier one.
    pub(super) fn enter_again(
        &mut self,
        index: usize,
        user: &'static str,
        name: &'static str,
        resumes: Option<usize>,
    ) -> Check {
        let now = self.now;
        let profile = Profile {
            display_name: State::new(user).name.into(),
            role: Role::Member,
            joined_at: 1_700_000_000,
        };
        let entrant = Entrant {
            user,
            profile: Some(Box::new(profile)),
            is_extended: EXTENDED.contains(&user),
            resume: resumes.is_some(),
        };
        let connection = self.nodes[index].room(name).enter_as(entrant, now);
        self.clients.push(Client {
            user,
            room: name,
            node: index,
            connection,
            is_admitted: false,
            is_open: true,
            resumes,
            is_resumed: false,
            is_ending: false,
            unclear: BTreeSet::new(),
            entered_at: now,
            admitted_at: now,
            known: BTreeMap::new(),
            offered: BTreeSet::new(),
            last: BTreeMap::new(),
            received: BTreeSet::new(),
            state: State::new(user),
            views: BTreeMap::new(),
        });
        self.log(format!(
            "{user} enters {name} as client {} on n{index}, resumes {resumes:?}",
            self.clients.len() - 1
        ));
        self.after(index, name, Vec::new())
    }

    /// A client closes its connection.
    pub(super) fn leave(&mut self, client: usize) -> Check {
        let Client {
            node,
            room,
            connection,
            ..
        } = self.clients[client];
        self.log(format!("client {client} leaves"));
        self.clients[client].is_open = false;
        let mut effects = Vec::new();
        if let Some(room) = self.nodes[node].rooms.get_mut(room) {
            room.leave(connection, &mut effects);
        }
        self.after(node, room, effects)
    }

    /// A node closes all its connections to a room, because it restarts.
    pub(super) fn suspend(&mut self, index: usize, name: &'static str) -> Check {
        self.log(format!("n{index} suspends {name}"));
        for client in &mut self.clients {
            client.is_ending |= client.node == index && client.room == name && client.is_open;
        }
        let mut effects = Vec::new();
        if let Some(room) = self.nodes[index].rooms.get_mut(name) {
            room.close_for_drain(CloseCode::Restarting, &mut effects);
        }
        self.after(index, name, effects)
    }

    /// A connection is a member. If it resumes an earlier one, its user knows whom that knew.
    fn admitted(&mut self, client: usize, is_resumed: bool) -> Check {
        self.clients[client].is_admitted = true;
        self.clients[client].admitted_at = self.now;
        self.log(format!(
            "client {client} is admitted, resumed: {is_resumed}"
        ));
        if is_resumed {
            let earlier = self.clients[client].resumes;
            let earlier = earlier.ok_or(format!("client {client} resumes nothing"))?;
            let user = self.clients[client].user;
            let knows = |one: &Client| {
                let known = one
                    .known
                    .get(user)
                    .is_some_and(|known| known.client == earlier);
                known && one.is_open && one.is_admitted && one.room == self.clients[client].room
            };
            let others = self.clients.iter().enumerate();
            let others = others.filter(|(_, one)| knows(one));
            let others: Vec<_> = others.map(|(other, _)| (client, other)).collect();
            self.known_before.extend(others);
            let earlier = &self.clients[earlier];
            let (known, offered, last) = (
                earlier.known.clone(),
                earlier.offered.clone(),
                earlier.last.clone(),
            );
            let client = &mut self.clients[client];
            (client.known, client.offered, client.last) = (known, offered, last);
            client.is_resumed = true;
        }
        Ok(())
    }

    /// Whether a client continues another one, perhaps over several restarts.
    pub(super) fn continues(&self, client: usize, earlier: usize) -> bool {
        let before = |client: &usize| self.clients[*client].resumes;
        std::iter::successors(before(&client), before).any(|one| one == earlier)
    }

    /// A client sends a numbered frame to one user, or to all.
    pub(super) fn send(&mut self, client: usize, to: Option<String>) -> Check {
        let sender = &self.clients[client];
        let (node, room, connection) = (sender.node, sender.room, sender.connection);
        self.frames += 1;
        let mut message =
            json!({"type": "offer", "from": "", "roomId": "", "n": self.frames, "c": client});
        if let Some(to) = &to {
            let receiver = sender.known.get(to).map(|known| known.client);
            message["to"] = to.as_str().into();
            self.directed
                .extend(receiver.map(|receiver| (client, receiver, self.frames)));
        }
        let (text, mut effects) = (message.to_string(), Vec::new());
        if let Some(room) = self.nodes[node].rooms.get_mut(room) {
            room.receive(connection, Input::Text(&text), self.now, &mut effects);
        }
        self.after(node, room, effects)
    }

    /// Carries out the effects and requests of a room.
    pub(super) fn after(
        &mut self,
        index: usize,
        name: &'static str,
        effects: Vec<Effect>,
    ) -> Check {
        let Some(room) = self.nodes[index].rooms.get_mut(name) else {
            return Ok(());
        };
        let requests = room.take_requests();
        for request in &requests {
            if let Request::Admitted {
                connection,
                is_resumed,
            } = request
            {
                let client = self.client_at(index, name, *connection);
                let client = client.ok_or("a connection without a client is admitted")?;
                let awaited = self.nodes[index].rooms[name].awaited_members();
                let awaited = awaited.map(|(user, _)| user.to_string()).collect();
                self.clients[client].unclear = awaited;
                self.admitted(client, *is_resumed)?;
            }
        }
        // The state that deliveries are compared with is that after all effects.
        let closes = effects.iter().filter_map(|effect| match effect {
            Effect::Close { connection, .. } => Some(*connection),
            Effect::Deliver { .. } | Effect::Welcome { .. } => None,
        });
        let closes: BTreeSet<ConnectionId> = closes.collect();
        for effect in effects {
            match effect {
                Effect::Deliver { connection, .. } | Effect::Welcome { connection, .. }
                    if closes.contains(&connection) => {}
                Effect::Welcome {
                    connection,
                    participants,
                } => self.welcome(index, name, connection, &participants)?,
                Effect::Close { connection, code } => {
                    self.closed(index, name, connection, code)?;
                }
                Effect::Deliver {
                    connection, frame, ..
                } => self.deliver(index, name, connection, &frame)?,
            }
        }
        self.check_knowledge(index, name)?;
        let now = self.now;
        let node = &mut self.nodes[index];
        node.node.request(&Arc::from(name), requests, now);
        if node.rooms.get(name).is_some_and(Room::is_empty) {
            node.rooms.remove(name);
        }
        Ok(())
    }

    /// Each client knows the members that its node knows: of those whom it was not notified of, it learns by
    /// their offers.
    fn check_knowledge(&mut self, index: usize, name: &'static str) -> Check {
        let room = &self.nodes[index].rooms[name];
        let users = room
            .users()
            .chain(room.remote_members().map(|(user, _)| user));
        let mut members = BTreeMap::new();
        for user in users {
            let client = self.client_of(index, name, user);
            let (client, _) =
                client.ok_or(format!("n{index} takes an unknown {user} for a member"))?;
            members.insert(user.to_string(), client);
        }
        let awaited = room.awaited_members().map(|(user, _)| user.to_string());
        let awaited: BTreeSet<String> = awaited.collect();
        let is_there =
            |one: &Client| one.node == index && one.room == name && one.is_open && one.is_admitted;
        for number in 0..self.clients.len() {
            if is_there(&self.clients[number]) {
                self.check_knowledge_of(number, &members, &awaited)?;
            }
        }
        Ok(())
    }

    fn check_knowledge_of(
        &mut self,
        number: usize,
        members: &BTreeMap<String, usize>,
        awaited: &BTreeSet<String>,
    ) -> Check {
        let client = &self.clients[number];
        let mut known = client.known.clone();
        let others = members.iter().filter(|(user, _)| **user != client.user);
        for (user, member) in others {
            if EXTENDED.contains(&client.user) && !known.contains_key(user) {
                return Err(format!("client {number} does not learn of {user}"));
            }
            let known = known.entry(user.clone()).or_insert(Known {
                client: *member,
                offers: false,
            });
            if known.client != *member {
                if !self.continues(*member, known.client) {
                    return Err(format!("client {number} was not notified of a new {user}"));
                }
                known.client = *member;
                self.silent.push(*member);
            }
        }
        let is_gone = |user: &&String| !members.contains_key(*user) && !awaited.contains(*user);
        // One who ends soon learns of departures by the return.
        let is_ending = client.is_ending;
        if let Some(user) = known.keys().find(is_gone).filter(|_| !is_ending) {
            return Err(format!("client {number} did not see {user} leave"));
        }
        self.clients[number].known = known;
        Ok(())
    }

    fn closed(
        &mut self,
        index: usize,
        room: &str,
        connection: ConnectionId,
        code: CloseCode,
    ) -> Check {
        let Some(number) = self.client_at(index, room, connection) else {
            return Ok(());
        };
        self.log(format!("client {number} is closed: {code:?}"));
        self.clients[number].is_open = false;
        if code == CloseCode::Restarting && self.clients[number].is_admitted {
            self.away.push(number);
        }
        let client = &self.clients[number];
        // The members of an evicted node do not replace others.
        let is_evicted = self.nodes[index].node.counts().evictions > 0;
        if client.is_admitted && !is_evicted && code == CloseCode::Replaced {
            self.check_replacement(number)?;
        }
        Ok(())
    }

    /// An earlier connection does not replace a later one.
    fn check_replacement(&mut self, replaced: usize) -> Check {
        let Client { room, user, .. } = self.clients[replaced];
        let roster = (format!("p1:r:{room}"), format!("u:{user}"));
        let place = self.execute(cmd("HGET").arg(roster.0).arg(roster.1));
        let Value::BulkString(place) = place else {
            return Ok(());
        };
        let place = String::from_utf8(place).unwrap();
        let words: Vec<&str> = place.split(' ').collect();
        let connection = ConnectionId::new(words[1].parse().unwrap()).unwrap();
        let winner = self.client_at(self.ids[words[0]], room, connection);
        let winner = winner.ok_or("the roster lists no client")?;
        let is_earlier = self.clients[winner].is_admitted
            && self.clients[winner].admitted_at < self.clients[replaced].entered_at;
        // One that entered later has replaced it, and left again.
        let mut later = self.clients[replaced + 1..].iter();
        let is_replaced_by = |one: &Client| one.room == room && one.user == user && one.is_admitted;
        if is_earlier && !later.any(is_replaced_by) {
            return Err(format!(
                "client {replaced} is replaced by the earlier client {winner}"
            ));
        }
        Ok(())
    }

    pub(super) fn client_at(
        &self,
        index: usize,
        room: &str,
        connection: ConnectionId,
    ) -> Option<usize> {
        let is_it = |client: &Client| {
            client.node == index && client.room == room && client.connection == connection
        };
        self.clients.iter().rposition(is_it)
    }

    /// The client of a user whom a node takes for a member, and the place.
    pub(super) fn client_of(
        &self,
        index: usize,
        name: &str,
        user: &str,
    ) -> Option<(usize, String)> {
        let room = self.nodes[index].rooms.get(name)?;
        let mut members = room.remote_members();
        if let Some((_, place)) = members.find(|(other, _)| ***other == *user) {
            let client = self.client_at(self.ids[&place.node], name, place.connection)?;
            return Some((client, format!("{} {}", place.node, place.age)));
        }
        let is_it = |client: &Client| {
            let is_here = client.node == index && client.room == name && client.user == user;
            is_here && client.is_open && client.is_admitted
        };
        let client = self.clients.iter().rposition(is_it)?;
        Some((client, self.nodes[index].node.id().to_string()))
    }

    fn deliver(
        &mut self,
        index: usize,
        room: &str,
        connection: ConnectionId,
        frame: &[u8],
    ) -> Check {
        let Some(client) = self.client_at(index, room, connection) else {
            return Ok(());
        };
        if !self.clients[client].is_open {
            return Ok(());
        }
        let frame: serde_json::Value = serde_json::from_slice(frame).unwrap();
        if matches!(frame["type"].as_str(), Some("ack" | "error")) {
            return Ok(());
        }
        let user = frame["from"].as_str().unwrap().to_owned();
        match frame["type"].as_str() {
            Some("user-joined") => {
                self.see(client, &frame["data"]["participant"])?;
                self.joined(index, room, client, user)
            }
            Some("participant-updated") => {
                self.see(client, &frame["data"])?;
                let is_own = user == self.clients[client].user;
                if !is_own && !self.clients[client].known.contains_key(&user) {
                    let other = self.client_of(index, room, &user);
                    let (other, _) =
                        other.ok_or(format!("client {client} sees an unknown {user} change"))?;
                    let known = Known {
                        client: other,
                        offers: false,
                    };
                    self.clients[client].known.insert(user, known);
                }
                Ok(())
            }
            Some("user-left") => {
                self.notified += 1;
                match self.clients[client].known.remove(&user) {
                    Some(_) => Ok(()),
                    None if !self.is_calm && self.clients[client].unclear.remove(&user) => Ok(()),
                    None => Err(format!("client {client} sees an unknown {user} leave")),
                }
            }
            _ => self.received(client, &user, &frame),
        }
    }

    fn joined(&mut self, index: usize, room: &str, client: usize, user: String) -> Check {
        self.notified += 1;
        let (other, id) = self.client_of(index, room, &user).ok_or(format!(
            "client {client} sees {user} join, who is no member"
        ))?;
        let known = Known {
            client: other,
            offers: true,
        };
        if self.is_calm && self.known_before.contains(&(other, client)) {
            return Err(format!(
                "client {client} sees client {other} leave and return"
            ));
        }
        // A node that enters anew learns of all others again.
        let own = self.nodes[index].node.id();
        let pair = if self.is_calm {
            String::new()
        } else {
            format!("{id} {own}")
        };
        if !self.clients[client].offered.insert((other, pair)) {
            return Err(format!("client {client} sees client {other} join twice"));
        }
        match self.clients[client].known.insert(user.clone(), known) {
            None => Ok(()),
            Some(_) => Err(format!("client {client} sees a known {user} join")),
        }
    }

    fn received(&mut self, client: usize, user: &str, frame: &serde_json::Value) -> Check {
        let sender = frame["c"].as_u64().unwrap() as usize;
        let number = frame["n"].as_u64().unwrap();
        if self.clients[sender].user != user {
            return Err(format!(
                "client {client} receives a frame of {sender} from {user}"
            ));
        }
        // A frame to all was sent to the node of the earlier connection before the restart, and later to this one.
        let earlier = self.clients[client].resumes;
        if earlier.is_some_and(|one| self.clients[one].received.contains(&number)) {
            return Ok(());
        }
        self.clients[client].received.insert(number);
        match self.clients[client].last.insert(sender, number) {
            Some(last) if last >= number => Err(format!(
                "client {client} receives frame {number} of client {sender} after {last}"
            )),
            _ => Ok(()),
        }
    }
}
