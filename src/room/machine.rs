//! One room: its connections, and what follows from what they send.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::budget::Budget;
use super::envelope::{Envelope, quoted};
use super::{CloseCode, Kind, Reason};
use crate::clock::Mono;
use crate::rate::{Cell, Limit};

/// Replacements of one user's connection that are borne within [`REPLACEMENT_SPAN`]. Two tabs that
/// reconnect after any close would else replace each other for ever.
const REPLACEMENTS: usize = 3;
const REPLACEMENT_SPAN: Duration = Duration::from_secs(60);

/// A connection of a room; never used twice in one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// What a connection sent.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    Text(&'a str),
    Binary,
    /// A ping or an unasked pong: nothing to deliver, but it counts as a message.
    Control,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this text to that connection.
    Deliver {
        connection: ConnectionId,
        frame: Bytes,
    },
    /// Close that connection. It is no part of the room any more.
    Close {
        connection: ConnectionId,
        code: CloseCode,
    },
}

/// How a message was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It went to `copies` connections.
    Relayed {
        kind: Kind,
        copies: usize,
    },
    /// It was a control frame.
    Control,
    Dropped(Reason),
    /// Its connection was closed for it (the effect says so too).
    Closed(CloseCode),
    /// Its connection is no part of the room any more.
    Gone,
}

/// How a newcomer was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    Seated(ConnectionId),
    Refused(CloseCode),
}

/// The state machine of one room.
///
/// Every method appends to `effects`, which the caller carries out before the next call; nothing
/// else leaves the machine.
#[derive(Debug)]
pub struct Room {
    /// The id as JSON.
    id: String,
    /// Messages that each connection may send.
    rate: Limit,
    next: u64,
    members: HashMap<ConnectionId, Member>,
    by_user: HashMap<Arc<str>, ConnectionId>,
    before: Option<Before>,
    /// Users whose connections ended because the server drains, or while it does. They can't come
    /// back to this process, and nobody can tell whether they still talk to each other.
    unreachable: HashSet<Arc<str>>,
}

/// Who was here before a restart: they know of each other.
#[derive(Debug)]
struct Before {
    users: HashSet<Arc<str>>,
    /// Those who have yet to come back.
    missing: HashSet<Arc<str>>,
    until: Mono,
}

#[derive(Debug)]
struct Member {
    user: Arc<str>,
    /// The user's id as JSON.
    quoted: String,
    rate: Cell,
    budget: Budget,
    /// Whether it goes on where it was before the restart, and so knows who was here then.
    resumed: bool,
    /// When connections of this user replaced each other, oldest first.
    replacements: Vec<Mono>,
}

impl Room {
    pub fn new(id: &str, rate: Limit) -> Room {
        Room {
            id: quoted(id),
            rate,
            next: 0,
            members: HashMap::new(),
            by_user: HashMap::new(),
            before: None,
            unreachable: HashSet::new(),
        }
    }

    /// These users were connected before a restart. Until `until` they count as if they still were;
    /// whoever comes back by then may go on as if nothing had been.
    pub fn expect(&mut self, users: impl IntoIterator<Item = Arc<str>>, until: Mono) {
        let users: HashSet<_> = users.into_iter().collect();
        self.before = Some(Before {
            missing: users.clone(),
            users,
            until,
        });
    }

    /// Whoever was expected and has not come has left.
    pub fn expire(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        if let Some(before) = self.before.take_if(|before| before.until <= now) {
            for user in before.missing {
                self.tell(
                    |member| member.resumed,
                    "user-left",
                    &quoted(&user),
                    effects,
                );
            }
        }
    }

    /// From now on each connection may send as much as this.
    pub fn limit(&mut self, rate: Limit) {
        self.rate = rate;
    }

    pub fn is_empty(&self) -> bool {
        let awaited = self.before.as_ref().map(|before| before.missing.len());
        self.members.is_empty() && awaited.unwrap_or(0) == 0 && self.unreachable.is_empty()
    }

    /// Who is connected, or expected back, or was sent away by a drain, in no order.
    pub fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        let awaited = self.before.iter().flat_map(|before| &before.missing);
        self.by_user.keys().chain(awaited).chain(&self.unreachable)
    }

    /// A connection of `user` arrives. Where there is one already, the newer one wins.
    ///
    /// With `resume` it goes on where it was before a restart: those who went on likewise are not
    /// told, and it is told who has left since. Without, they are told of an end and a beginning.
    pub fn join(&mut self, user: &str, resume: bool, now: Mono, effects: &mut Vec<Effect>) -> Join {
        self.expire(now, effects);
        let awaited = self.before.as_mut().is_some_and(|b| b.missing.remove(user));
        let resumed = awaited && resume;
        if awaited && !resume {
            self.tell(|member| member.resumed, "user-left", &quoted(user), effects);
        }
        let Some(replacements) = self.replace(user, now, effects) else {
            return Join::Refused(CloseCode::Replaced);
        };
        self.next += 1;
        let connection = ConnectionId(self.next);
        let user: Arc<str> = Arc::from(user);
        let member = Member {
            quoted: quoted(&user),
            user: user.clone(),
            rate: Cell::default(),
            budget: Budget::default(),
            resumed,
            replacements,
        };
        let stranger = |other: &Member| !(resumed && other.resumed);
        self.tell(stranger, "user-joined", &member.quoted, effects);
        self.by_user.insert(user, connection);
        self.members.insert(connection, member);
        if resumed {
            self.catch_up(connection, effects);
        }
        Join::Seated(connection)
    }

    /// Tells a connection that goes on who has come back and left before it came.
    fn catch_up(&self, connection: ConnectionId, effects: &mut Vec<Effect>) {
        let Some(before) = &self.before else { return };
        let gone = |user: &&Arc<str>| {
            let seated = self.by_user.contains_key(*user);
            !seated && !before.missing.contains(*user)
        };
        for user in before.users.iter().filter(gone) {
            let frame = self.presence("user-left", &quoted(user));
            effects.push(deliver(connection, &frame));
        }
    }

    /// Ends the connection that `user` has, and gives the times of such replacements; `None` where
    /// there were too many and it stays.
    fn replace(&mut self, user: &str, now: Mono, effects: &mut Vec<Effect>) -> Option<Vec<Mono>> {
        let Some(&established) = self.by_user.get(user) else {
            return Some(Vec::new());
        };
        let member = self.members.get_mut(&established)?;
        let recent = |at: &Mono| now.since(*at) < REPLACEMENT_SPAN;
        member.replacements.retain(recent);
        if member.replacements.len() >= REPLACEMENTS {
            return None;
        }
        let mut replacements = std::mem::take(&mut member.replacements);
        replacements.push(now);
        self.close(established, CloseCode::Replaced, effects);
        Some(replacements)
    }

    /// A connection is gone; one that is no part of the room any more makes nobody leave.
    pub fn leave(&mut self, connection: ConnectionId, effects: &mut Vec<Effect>) {
        if let Some(member) = self.members.remove(&connection) {
            self.by_user.remove(&member.user);
            self.announce("user-left", &member.quoted, effects);
        }
    }

    /// A connection is gone while the server drains, without a goodbye: its user may still be
    /// talking, so nobody is told that they left.
    pub fn lose(&mut self, connection: ConnectionId) {
        if let Some(member) = self.members.remove(&connection) {
            self.by_user.remove(&member.user);
            self.unreachable.insert(member.user);
        }
    }

    /// Closes every connection because the server drains. The users count as connected until they
    /// leave by other means, see [`Room::lose`].
    pub fn send_away(&mut self, code: CloseCode, effects: &mut Vec<Effect>) {
        let users = self.users().cloned().collect();
        self.close_all(code, effects);
        self.unreachable = users;
    }

    /// Closes the connection of `user`, if there is one.
    pub fn close_user(&mut self, user: &str, code: CloseCode, effects: &mut Vec<Effect>) -> bool {
        if self.before.as_mut().is_some_and(|b| b.missing.remove(user)) {
            self.tell(|member| member.resumed, "user-left", &quoted(user), effects);
        }
        if self.unreachable.remove(user) {
            self.announce("user-left", &quoted(user), effects);
        }
        let Some(&connection) = self.by_user.get(user) else {
            return false;
        };
        self.close(connection, code, effects);
        true
    }

    /// Closes every connection, without telling any of them about the others.
    pub fn close_all(&mut self, code: CloseCode, effects: &mut Vec<Effect>) {
        let close = |(connection, _)| Effect::Close { connection, code };
        effects.extend(self.members.drain().map(close));
        self.by_user.clear();
        self.before = None;
        self.unreachable.clear();
    }

    /// A connection sent something.
    pub fn receive(
        &mut self,
        connection: ConnectionId,
        input: Input<'_>,
        now: Mono,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let Some(member) = self.members.get_mut(&connection) else {
            return Outcome::Gone;
        };
        if !member.rate.take(self.rate, now, 1) {
            return self.too_many(connection, effects);
        }
        let judged = match input {
            Input::Control => return Outcome::Control,
            Input::Binary => Err(Reason::Binary),
            Input::Text(text) => self.relay(connection, text, effects),
        };
        let Some(member) = self.members.get_mut(&connection) else {
            return Outcome::Gone;
        };
        match judged {
            Ok((kind, copies)) => {
                member.budget.good();
                Outcome::Relayed { kind, copies }
            }
            Err(_) if member.budget.bad() => self.too_many(connection, effects),
            Err(reason) => Outcome::Dropped(reason),
        }
    }

    fn relay(
        &self,
        sender: ConnectionId,
        text: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<(Kind, usize), Reason> {
        let envelope = Envelope::parse(text)?;
        let Some(member) = self.members.get(&sender) else {
            return Ok((envelope.kind, 0));
        };
        let before = effects.len();
        match &envelope.to {
            Some(user) => {
                let target = self.by_user.get(&**user).ok_or(Reason::NoSuchTarget)?;
                effects.push(Effect::Deliver {
                    connection: *target,
                    frame: envelope.stamp(&member.quoted, &self.id),
                });
            }
            None => {
                let frame = envelope.stamp(&member.quoted, &self.id);
                let others = self.members.keys().filter(|other| **other != sender);
                effects.extend(others.map(|other| deliver(*other, &frame)));
            }
        }
        Ok((envelope.kind, effects.len() - before))
    }

    fn too_many(&mut self, connection: ConnectionId, effects: &mut Vec<Effect>) -> Outcome {
        let code = CloseCode::TooManyMessages;
        self.close(connection, code, effects);
        Outcome::Closed(code)
    }

    fn close(&mut self, connection: ConnectionId, code: CloseCode, effects: &mut Vec<Effect>) {
        effects.push(Effect::Close { connection, code });
        self.leave(connection, effects);
    }

    fn announce(&self, what: &str, user: &str, effects: &mut Vec<Effect>) {
        self.tell(|_| true, what, user, effects);
    }

    /// Announces something to those members whom it concerns.
    fn tell(
        &self,
        concerns: impl Fn(&Member) -> bool,
        what: &str,
        user: &str,
        effects: &mut Vec<Effect>,
    ) {
        if self.members.is_empty() {
            return;
        }
        let frame = self.presence(what, user);
        let members = self.members.iter().filter(|(_, member)| concerns(member));
        effects.extend(members.map(|(other, _)| deliver(*other, &frame)));
    }

    fn presence(&self, what: &str, user: &str) -> Bytes {
        let room = &self.id;
        Bytes::from(format!(
            r#"{{"type":"{what}","data":{{"userId":{user}}},"from":{user},"roomId":{room}}}"#
        ))
    }
}

fn deliver(connection: ConnectionId, frame: &Bytes) -> Effect {
    Effect::Deliver {
        connection,
        frame: frame.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(0);

    fn room(users: &[&str]) -> (Room, Vec<ConnectionId>) {
        let mut room = Room::new("lobby", Limit::per_second(100, 1000));
        let ids = users
            .iter()
            .map(|user| seat(&mut room, user, NOW))
            .collect();
        (room, ids)
    }

    fn seat(room: &mut Room, user: &str, now: Mono) -> ConnectionId {
        match room.join(user, false, now, &mut Vec::new()) {
            Join::Seated(connection) => connection,
            Join::Refused(code) => panic!("{user} was refused: {code:?}"),
        }
    }

    fn text(effects: &[Effect], wanted: ConnectionId) -> Vec<String> {
        let to = |effect: &Effect| match effect {
            Effect::Deliver { connection, frame } if *connection == wanted => {
                Some(String::from_utf8(frame.to_vec()).expect("UTF-8"))
            }
            _ => None,
        };
        effects.iter().filter_map(to).collect()
    }

    #[test]
    fn a_newcomer_is_announced_to_the_others_and_told_nothing() {
        let (mut room, ids) = room(&["alice"]);
        let mut effects = Vec::new();
        room.join("bob", false, NOW, &mut effects);
        let announcement =
            r#"{"type":"user-joined","data":{"userId":"bob"},"from":"bob","roomId":"lobby"}"#;
        assert_eq!(text(&effects, ids[0]), [announcement]);
        assert_eq!(effects.len(), 1);
    }

    #[test]
    fn a_directed_message_reaches_its_target_alone() {
        let (mut room, ids) = room(&["alice", "bob", "carol"]);
        let mut effects = Vec::new();
        let input = Input::Text(r#"{"type":"offer","from":"carol","roomId":"x","to":"bob"}"#);
        let outcome = room.receive(ids[0], input, NOW, &mut effects);
        assert_eq!(
            outcome,
            Outcome::Relayed {
                kind: Kind::Offer,
                copies: 1
            }
        );
        let expected = r#"{"type":"offer","from":"alice","roomId":"lobby","to":"bob"}"#;
        assert_eq!(text(&effects, ids[1]), [expected]);
        assert_eq!(effects.len(), 1);
    }

    #[test]
    fn the_newer_connection_wins_and_the_older_ones_end_makes_nobody_leave() {
        let (mut room, ids) = room(&["alice", "bob"]);
        let mut effects = Vec::new();
        room.join("alice", false, NOW, &mut effects);
        assert_eq!(
            effects[0],
            Effect::Close {
                connection: ids[0],
                code: CloseCode::Replaced
            }
        );
        let seen = text(&effects, ids[1]);
        assert!(seen[0].contains("user-left") && seen[1].contains("user-joined"));
        assert_eq!(effects.len(), 3);
        effects.clear();
        room.leave(ids[0], &mut effects);
        assert_eq!(effects, []);
        assert_eq!(
            room.receive(ids[0], Input::Binary, NOW, &mut effects),
            Outcome::Gone
        );
    }

    #[test]
    fn after_three_replacements_in_a_minute_the_established_connection_stays() {
        let (mut room, _) = room(&["alice"]);
        for second in 1..=3 {
            seat(&mut room, "alice", NOW + Duration::from_secs(second));
        }
        let mut effects = Vec::new();
        let refused = room.join("alice", false, NOW + Duration::from_secs(60), &mut effects);
        assert_eq!(refused, Join::Refused(CloseCode::Replaced));
        assert_eq!(effects, []);
        seat(&mut room, "alice", NOW + Duration::from_secs(61));
    }

    #[test]
    fn a_hundred_and_one_bad_messages_in_a_row_close_the_connection() {
        let (mut room, ids) = room(&["alice", "bob"]);
        let mut effects = Vec::new();
        for _ in 0..100 {
            let outcome = room.receive(ids[0], Input::Binary, NOW, &mut effects);
            assert_eq!(outcome, Outcome::Dropped(Reason::Binary));
        }
        assert_eq!(effects, []);
        let outcome = room.receive(ids[0], Input::Binary, NOW, &mut effects);
        assert_eq!(outcome, Outcome::Closed(CloseCode::TooManyMessages));
        assert!(text(&effects, ids[1])[0].contains("user-left"));
    }

    #[test]
    fn more_messages_than_the_rate_close_the_connection() {
        let (mut room, ids) = room(&["alice"]);
        let mut effects = Vec::new();
        for _ in 0..1000 {
            room.receive(ids[0], Input::Control, NOW, &mut effects);
        }
        let outcome = room.receive(ids[0], Input::Control, NOW, &mut effects);
        assert_eq!(outcome, Outcome::Closed(CloseCode::TooManyMessages));
    }

    #[test]
    fn a_connection_that_is_lost_during_a_drain_is_announced_once_its_user_leaves() {
        let (mut room, ids) = room(&["alice", "bob"]);
        let mut effects = Vec::new();
        room.lose(ids[1]);
        assert_eq!(effects, []);
        assert!(room.users().any(|user| **user == *"bob"));
        assert!(!room.close_user("bob", CloseCode::NotAParticipant, &mut effects));
        assert!(text(&effects, ids[0])[0].contains("user-left"));
        assert_eq!((effects.len(), room.users().count()), (1, 1));
    }

    #[test]
    fn those_whom_a_drain_sends_away_count_as_connected_until_they_leave() {
        let (mut room, ids) = room(&["alice", "bob"]);
        let mut effects = Vec::new();
        room.send_away(CloseCode::Restarting, &mut effects);
        assert_eq!(effects.len(), 2);
        assert!(effects.iter().all(|e| matches!(e, Effect::Close { .. })));
        ids.iter().for_each(|id| room.leave(*id, &mut effects));
        assert_eq!((effects.len(), room.users().count()), (2, 2));
        for user in ["alice", "bob"] {
            assert!(!room.is_empty());
            room.close_user(user, CloseCode::NotAParticipant, &mut effects);
        }
        assert!(room.is_empty());
    }

    #[test]
    fn closing_the_room_closes_everybody_in_silence() {
        let (mut room, _) = room(&["alice", "bob"]);
        let mut effects = Vec::new();
        room.close_all(CloseCode::RoomClosed, &mut effects);
        assert_eq!(effects.len(), 2);
        assert!(effects.iter().all(|e| matches!(e, Effect::Close { .. })));
        assert!(room.is_empty());
    }
}
