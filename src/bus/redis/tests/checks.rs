//! The invariants that hold when nothing is in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::{FromRedisValue, cmd};

use super::world::{Check, Client, EXTENDED, ROOMS, USERS, World};

/// Longer than every timeout of the nodes.
const MAX_SETTLING: Duration = Duration::from_secs(60);

impl World {
    /// Ends all faults, and lets the nodes finish.
    pub(super) fn settle(&mut self) -> Check {
        self.log("settle".to_owned());
        for node in &mut self.nodes {
            node.is_frozen = false;
        }
        let until = self.now + MAX_SETTLING;
        let mut idle_since = None;
        while self.now < until {
            for index in 0..self.nodes.len() {
                self.reconnect(index)?;
            }
            let mut is_busy = true;
            while is_busy {
                is_busy = false;
                for index in 0..self.nodes.len() {
                    self.write(index, 1000, None)?;
                    is_busy |= self.read(index, 1000)?;
                }
            }
            let is_idle = self.nodes.iter().all(|node| node.node.is_idle());
            let since = *idle_since.get_or_insert(self.now);
            if !is_idle {
                idle_since = None;
            } else if self.now.since(since) > super::world::LEASE * 5 / 2 {
                return self.check();
            }
            self.pass(Duration::from_millis(500))?;
        }
        let nodes: Vec<_> = self.nodes.iter().map(|node| &node.node).collect();
        Err(format!("the nodes do not settle: {nodes:#?}"))
    }

    pub(super) fn query<T: FromRedisValue>(&mut self, command: &mut redis::Cmd) -> T {
        command.query(&mut self.redis).unwrap()
    }

    fn check(&mut self) -> Check {
        for room in ROOMS {
            self.check_roster(room)?;
            self.check_views(room)?;
            self.check_clients(room)?;
            self.check_states(room)?;
        }
        // A client that continues for others has continued for itself.
        let is_new = |client: &&usize| {
            let client = &self.clients[**client];
            client.is_open && !client.is_resumed
        };
        if let Some(client) = self.silent.iter().find(is_new) {
            return Err(format!("client {client} is new, and others did not notice"));
        }
        self.check_keys()
    }

    /// The open clients in a room.
    fn open(&self, room: &str) -> Vec<(usize, &Client)> {
        let clients = self.clients.iter().enumerate();
        clients
            .filter(|(_, client)| client.is_open && client.room == room)
            .collect()
    }

    /// The roster in Redis lists the open clients, each user once, and counts them for each node.
    fn check_roster(&mut self, room: &str) -> Check {
        let roster: BTreeMap<String, String> =
            self.query(cmd("HGETALL").arg(format!("p1:r:{room}")));
        let counts: BTreeMap<String, usize> =
            self.query(cmd("HGETALL").arg(format!("p1:m:{room}")));
        let mut listed = BTreeSet::new();
        for (field, value) in &roster {
            if let Some(user) = field.strip_prefix("u:") {
                let place = value.rsplit_once(' ').unwrap().0;
                listed.insert(format!("{user} {place}"));
                if !roster.contains_key(&format!("d:{user}")) {
                    return Err(format!("{room}: {user} has no description"));
                }
            }
        }
        let (mut expected, mut expected_counts) = (BTreeSet::new(), BTreeMap::new());
        for (index, client) in self.open(room) {
            if !client.is_admitted {
                return Err(format!("client {index} waits for ever"));
            }
            let id = self.nodes[client.node].node.id().to_string();
            *expected_counts.entry(id.clone()).or_insert(0) += 1;
            let line = format!("{} {id} {}", client.user, client.connection.number());
            if !expected.insert(line) {
                return Err(format!("client {index} is there twice"));
            }
        }
        if listed != expected || counts != expected_counts {
            return Err(format!(
                "{room}: Redis lists {listed:?} {counts:?}, but there are {expected:?} {expected_counts:?}"
            ));
        }
        let is_waiting = roster.contains_key("v");
        if is_waiting && !listed.is_empty() {
            return Err(format!("{room}: somebody is awaited for ever: {roster:?}"));
        }
        // The roster of awaited members alone ends by itself.
        if listed.is_empty() && !roster.is_empty() && !is_waiting {
            return Err(format!("{room}: the empty roster remains: {roster:?}"));
        }
        Ok(())
    }

    /// Each node knows the members on the others.
    fn check_views(&self, room: &str) -> Check {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(state) = node.rooms.get(room) else {
                if self
                    .open(room)
                    .iter()
                    .any(|(_, client)| client.node == index)
                {
                    return Err(format!("n{index} has no {room}"));
                }
                continue;
            };
            let seen = state.remote_members().map(|(user, place)| {
                format!("{user} {} {}", place.node, place.connection.number())
            });
            let elsewhere = self
                .open(room)
                .into_iter()
                .filter(|(_, client)| client.node != index);
            let expected = elsewhere.map(|(_, client)| {
                let id = self.nodes[client.node].node.id();
                format!("{} {id} {}", client.user, client.connection.number())
            });
            let (seen, expected): (BTreeSet<_>, BTreeSet<_>) = (seen.collect(), expected.collect());
            if seen != expected {
                return Err(format!(
                    "{room}: n{index} sees {seen:?}, but there are {expected:?}"
                ));
            }
        }
        Ok(())
    }

    /// Each client knows the others, and of each two exactly one offers.
    fn check_clients(&self, room: &str) -> Check {
        let open = self.open(room);
        for (index, client) in &open {
            let others = open.iter().filter(|(other, _)| other != index);
            let expected: BTreeMap<&str, usize> = others
                .map(|(other, client)| (client.user, *other))
                .collect();
            let known = client.known.iter();
            let known: BTreeMap<&str, usize> =
                known.map(|(user, known)| (&**user, known.client)).collect();
            if known != expected {
                return Err(format!(
                    "{room}: client {index} knows {known:?} instead of {expected:?}"
                ));
            }
        }
        for (index, client) in &open {
            for (other, peer) in open.iter().filter(|(other, _)| other > index) {
                let offers = [
                    client.known[peer.user].offers,
                    peer.known[client.user].offers,
                ];
                if offers[0] == offers[1] {
                    return Err(format!(
                        "{room}: clients {index} and {other} offer: {offers:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Each client that speaks `parlor.v1` sees the states of the others, and its own.
    fn check_states(&self, room: &str) -> Check {
        let open = self.open(room);
        let seers = open
            .iter()
            .filter(|(_, client)| EXTENDED.contains(&client.user));
        for (index, client) in seers {
            for (_, other) in &open {
                let seen = client.views.get(other.user);
                if seen != Some(&other.state) {
                    return Err(format!(
                        "{room}: client {index} sees {} as {seen:?} instead of {:?}",
                        other.user, other.state
                    ));
                }
            }
        }
        Ok(())
    }

    /// Redis keeps nothing of nodes and rooms that are gone.
    fn check_keys(&mut self) -> Check {
        let keys: BTreeSet<String> = self.query(cmd("KEYS").arg("p1:*"));
        let mut expected: BTreeSet<String> = [
            "now",
            "ahead",
            "world",
            "world-since",
            "nodes",
            "nodes-version",
        ]
        .map(|key| format!("p1:{key}"))
        .into();
        for index in 0..self.nodes.len() {
            let id = self.nodes[index].node.id().to_string();
            expected.extend([format!("p1:i:{id}"), format!("p1:h:{id}")]);
            let mut rooms = BTreeSet::new();
            for room in ROOMS {
                if self
                    .open(room)
                    .iter()
                    .any(|(_, client)| client.node == index)
                {
                    expected.extend([format!("p1:r:{room}"), format!("p1:m:{room}")]);
                    rooms.insert(room.to_owned());
                }
            }
            let key = format!("p1:nr:{id}");
            let listed: BTreeSet<String> = self.query(cmd("SMEMBERS").arg(&key));
            if listed != rooms {
                return Err(format!(
                    "Redis lists {listed:?} as the rooms of n{index}, not {rooms:?}"
                ));
            }
            if !rooms.is_empty() {
                expected.insert(key);
            }
        }
        for key in keys.iter().filter(|key| !expected.contains(*key)) {
            let lifetime: i64 = self.query(cmd("TTL").arg(key));
            if lifetime < 0 {
                return Err(format!("{key} remains"));
            }
        }
        Ok(())
    }

    /// Without faults but lost replies, no frame between two clients who stay is lost.
    pub(super) fn check_frames(&self) -> Check {
        for &(sender, receiver, number) in &self.directed {
            let both = self.clients[sender].is_open && self.clients[receiver].is_open;
            if both && !self.clients[receiver].received.contains(&number) {
                return Err(format!(
                    "frame {number} of client {sender} to {receiver} is lost"
                ));
            }
        }
        Ok(())
    }

    /// The user of a random name, and a random room.
    pub(super) fn pick(&mut self) -> (&'static str, &'static str) {
        use rand::RngExt;
        let user = USERS[self.rng.random_range(0..USERS.len())];
        (user, ROOMS[self.rng.random_range(0..ROOMS.len())])
    }
}
