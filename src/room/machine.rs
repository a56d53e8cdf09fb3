//! One room: its connections, and the effects of their messages.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::effect::{Effect, Entrant, Input, Join, Outcome};
use super::envelope::{Envelope, quoted};
use super::error_budget::ErrorBudget;
use super::limits::{Limits, UsedBudgets};
use super::{CloseCode, ConnectionId, Departure, DropReason, Kind};
use crate::clock::Mono;
use announcement::{Announcement, LOST};
use member::Member;
use remote::Remote;

/// Tolerated replacements of one user's connection within [`REPLACEMENT_WINDOW`]. Two tabs that
/// reconnect after any close would else replace each other for ever.
const MAX_REPLACEMENTS: usize = 3;
const REPLACEMENT_WINDOW: Duration = Duration::from_secs(60);

/// Bytes charged per message in addition to its text and the server's fields: the queue's overhead per
/// frame. Without it, many small messages could fill a queue at a low charge.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// The state machine of one room.
///
/// Every method appends to `effects`, which the caller carries out before the next call; nothing
/// else leaves the machine.
#[derive(Debug)]
pub struct Room {
    /// The id as JSON.
    id: String,
    /// The send limits of each connection.
    limits: Limits,
    next: NonZeroU64,
    members: HashMap<ConnectionId, Member>,
    /// The number of members that speak `parlor.v1`.
    extended: usize,
    by_user: HashMap<Arc<str>, ConnectionId>,
    /// The used budgets of users who left before they were full again: rejoining gives no new burst.
    used_by_user: HashMap<Arc<str>, UsedBudgets>,
    /// Time of the last message or join.
    latest: Mono,
    before: Option<PreviousConnections>,
    /// Users whose connections ended because of a drain, or during it. They cannot reconnect to this
    /// process, and the server cannot know whether they still talk to each other.
    unreachable: HashSet<Arc<str>>,
    /// The members on other nodes, if there are several nodes.
    remote: Option<Box<Remote>>,
}

/// The users who were connected before a restart. They know of each other.
#[derive(Debug)]
struct PreviousConnections {
    users: HashSet<Arc<str>>,
    /// Those who have yet to come back.
    awaited: HashSet<Arc<str>>,
    until: Mono,
}

impl Room {
    pub fn new(id: &str, limits: Limits) -> Room {
        Room {
            id: quoted(id),
            limits,
            next: NonZeroU64::MIN,
            members: HashMap::new(),
            extended: 0,
            by_user: HashMap::new(),
            used_by_user: HashMap::new(),
            latest: Mono(0),
            before: None,
            unreachable: HashSet::new(),
            remote: None,
        }
    }

    /// Expects users who were connected before a restart. Until `until` they count as connected, and
    /// a user who reconnects in that time may resume.
    pub fn expect_return(&mut self, users: impl IntoIterator<Item = Arc<str>>, until: Mono) {
        let users: HashSet<_> = users.into_iter().collect();
        self.before = Some(PreviousConnections {
            awaited: users.clone(),
            users,
            until,
        });
    }

    /// Announces that expected users who did not reconnect in time have left.
    pub fn expire(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        if let Some(before) = self.before.take_if(|before| before.until <= now) {
            for user in before.awaited {
                self.notify(|member| member.resumed, LOST, &quoted(&user), effects);
            }
        }
    }

    /// Replaces the send limits of each connection.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub fn is_empty(&self) -> bool {
        let awaited = self.before.as_ref().map(|before| before.awaited.len());
        self.members.is_empty()
            && awaited.unwrap_or(0) == 0
            && self.unreachable.is_empty()
            && self.remote.as_ref().is_none_or(|remote| remote.is_idle())
    }

    /// The users who are connected, expected back, or disconnected by a drain; unordered.
    pub fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        let awaited = self.before.iter().flat_map(|before| &before.awaited);
        self.by_user.keys().chain(awaited).chain(&self.unreachable)
    }

    /// Adds a connection of `user`. It replaces an existing one.
    ///
    /// With `resume` it continues a connection from before a restart: other resumed connections are not
    /// notified, and it receives the departures since. Without, they receive `user-left` and `user-joined`.
    pub fn join(&mut self, user: &str, resume: bool, now: Mono, effects: &mut Vec<Effect>) -> Join {
        self.join_as(Entrant::plain(user, resume), now, effects)
    }

    /// [`Room::join`] with a profile and a protocol.
    pub fn join_as(&mut self, entrant: Entrant<'_>, now: Mono, effects: &mut Vec<Effect>) -> Join {
        let Entrant {
            user,
            profile,
            is_extended,
            resume,
        } = entrant;
        self.expire(now, effects);
        self.latest = now;
        self.used_by_user.retain(|_, used| !used.is_idle(now));
        let awaited = self.before.as_mut().is_some_and(|b| b.awaited.remove(user));
        let resumed = awaited && resume;
        if awaited && !resumed {
            self.notify(|member| member.resumed, LOST, &quoted(user), effects);
        }
        let Some(replacements) = self.replace(user, now, effects) else {
            return Join::Rejected(CloseCode::Replaced);
        };
        let connection = ConnectionId(self.next);
        self.next = self.next.saturating_add(1);
        let user: Arc<str> = Arc::from(user);
        let member = Member {
            quoted: quoted(&user),
            user: user.clone(),
            used: self.used_by_user.remove(&user).unwrap_or_default(),
            errors: ErrorBudget::default(),
            resumed,
            replacements,
            profile,
            extended: is_extended.then(Box::default),
        };
        let is_notified = |other: &Member| !(resumed && other.resumed);
        let participant = member.participant();
        let joined = Announcement::Joined(Some(&participant));
        self.notify(is_notified, joined, &member.quoted, effects);
        if resumed {
            self.announce_return(&participant, effects);
        }
        self.by_user.insert(user, connection);
        self.extended += usize::from(is_extended);
        self.members.insert(connection, member);
        if resumed && !is_extended {
            self.replay_departures(connection, effects);
        }
        Join::Accepted(connection)
    }

    /// Sends a resumed connection the users who have left since the restart.
    fn replay_departures(&self, connection: ConnectionId, effects: &mut Vec<Effect>) {
        let Some(before) = &self.before else { return };
        let gone = |user: &&Arc<str>| {
            let connected = self.by_user.contains_key(*user);
            !connected && !before.awaited.contains(*user)
        };
        for user in before.users.iter().filter(gone) {
            let frame = self.presence("user-left", &quoted(user));
            effects.push(deliver(connection, &frame, None));
        }
    }

    /// Closes the existing connection of `user`, and returns the times of such replacements; `None` if
    /// there were too many and it stays.
    fn replace(&mut self, user: &str, now: Mono, effects: &mut Vec<Effect>) -> Option<Vec<Mono>> {
        let Some(&established) = self.by_user.get(user) else {
            return Some(Vec::new());
        };
        let member = self.members.get_mut(&established)?;
        if member.is_away() {
            // Nobody uses it: two tabs that replace each other have connections.
            let replacements = std::mem::take(&mut member.replacements);
            self.close(established, CloseCode::Replaced, effects);
            return Some(replacements);
        }
        let recent = |at: &Mono| now.since(*at) < REPLACEMENT_WINDOW;
        member.replacements.retain(recent);
        if member.replacements.len() >= MAX_REPLACEMENTS {
            return None;
        }
        let mut replacements = std::mem::take(&mut member.replacements);
        replacements.push(now);
        self.close(established, CloseCode::Replaced, effects);
        Some(replacements)
    }

    /// Removes a connection that was lost. Does nothing if it is not part of the room.
    pub fn leave(&mut self, connection: ConnectionId, effects: &mut Vec<Effect>) {
        self.leave_for(Departure::Lost, connection, effects);
    }

    /// [`Room::leave`] for another reason.
    pub fn leave_for(
        &mut self,
        reason: Departure,
        connection: ConnectionId,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(member) = self.remove_member(connection) {
            let remote = self.remote.as_mut();
            let is_requested =
                remote.is_some_and(|one| one.leave(&member.user, connection, reason));
            self.notify_departure(&member, reason, is_requested, effects);
            if !member.used.is_idle(self.latest) {
                self.used_by_user.insert(member.user, member.used);
            }
        } else if let Some(remote) = &mut self.remote {
            remote.cancel(connection);
        }
    }

    fn remove_member(&mut self, connection: ConnectionId) -> Option<Member> {
        let member = self.members.remove(&connection)?;
        self.by_user.remove(&member.user);
        self.extended -= usize::from(member.extended.is_some());
        Some(member)
    }

    /// Records a connection that was lost during a drain, without a close frame: its user may still be
    /// talking, so the room sends no `user-left`. With several nodes the user has left.
    pub fn connection_lost(&mut self, connection: ConnectionId, effects: &mut Vec<Effect>) {
        if self.remote.is_some() {
            return self.leave(connection, effects);
        }
        if let Some(member) = self.remove_member(connection) {
            self.unreachable.insert(member.user);
        }
    }

    /// Closes every connection because the server drains. The users count as connected until they
    /// leave in another way, see [`Room::connection_lost`]; with several nodes see [`Room::suspend_all`].
    pub fn close_for_drain(&mut self, code: CloseCode, effects: &mut Vec<Effect>) {
        if self.remote.is_some() {
            return self.suspend_all(effects);
        }
        let users = self.users().cloned().collect();
        self.close_all(code, effects);
        self.unreachable = users;
    }

    /// Closes the connection of `user`, if there is one.
    pub fn close_user(&mut self, user: &str, code: CloseCode, effects: &mut Vec<Effect>) -> bool {
        self.close_user_for(Departure::by(code), user, code, effects)
    }

    /// [`Room::close_user`] for a reason that `parlor.v1` clients learn.
    pub fn close_user_for(
        &mut self,
        reason: Departure,
        user: &str,
        code: CloseCode,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let left = Announcement::Left(reason);
        if self.before.as_mut().is_some_and(|b| b.awaited.remove(user)) {
            self.notify(|member| member.resumed, left, &quoted(user), effects);
        }
        if self.unreachable.remove(user) {
            self.notify(|_| true, left, &quoted(user), effects);
        }
        let Some(&connection) = self.by_user.get(user) else {
            return self.close_entering(user, reason, code, effects);
        };
        effects.push(Effect::Close { connection, code });
        self.leave_for(reason, connection, effects);
        true
    }

    /// Closes every connection, without `user-left` messages.
    pub fn close_all(&mut self, code: CloseCode, effects: &mut Vec<Effect>) {
        if self.remote.is_some() {
            self.leave_roster(code, effects);
        }
        let close = |(connection, _)| Effect::Close { connection, code };
        effects.extend(self.members.drain().map(close));
        self.extended = 0;
        self.by_user.clear();
        self.before = None;
        self.unreachable.clear();
    }

    /// Handles an input of a connection.
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
        self.latest = now;
        let bytes = match input {
            Input::Text(text) => text.len() + member.quoted.len() + self.id.len(),
            Input::Binary | Input::Control => 0,
        };
        let bytes = bytes + MESSAGE_OVERHEAD_BYTES;
        if !member.used.take(self.limits, now, bytes) {
            return self.too_many(connection, effects);
        }
        let is_clean = member.errors.is_clean();
        if member.extended.is_some() {
            return self.receive_extended(connection, input, now, effects);
        }
        let judged = match input {
            Input::Control => return Outcome::Control,
            Input::Binary => Err(DropReason::Binary),
            Input::Text(text) => self
                .relay(connection, text, effects)
                .map(|(kind, copies)| Outcome::Relayed { kind, copies }),
        };
        match judged {
            // Saves a search for the member.
            Ok(outcome) if is_clean => outcome,
            judged => self.record(connection, judged, effects),
        }
    }

    /// Charges the sender's error budget.
    fn record(
        &mut self,
        connection: ConnectionId,
        judged: Result<Outcome, DropReason>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        // A client cannot know that a user has just left, or which protocol a user's client speaks.
        if let Err(
            reason @ (DropReason::NoSuchTarget | DropReason::PlainTarget | DropReason::RateLimited),
        ) = judged
        {
            return Outcome::Dropped(reason);
        }
        let Some(member) = self.members.get_mut(&connection) else {
            return Outcome::Gone;
        };
        match judged {
            Ok(outcome) => {
                member.errors.record_success();
                outcome
            }
            Err(_) if member.errors.record_error() => self.too_many(connection, effects),
            Err(reason) => Outcome::Dropped(reason),
        }
    }

    fn relay(
        &mut self,
        sender: ConnectionId,
        text: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<(Kind, usize), DropReason> {
        let envelope = Envelope::parse(text)?;
        self.route(sender, &envelope, effects)
    }

    /// Delivers a message to its target, or to all others.
    #[inline(always)]
    fn route(
        &mut self,
        sender: ConnectionId,
        envelope: &Envelope<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(Kind, usize), DropReason> {
        if self.extended > 0 {
            return self.route_extended(sender, envelope, effects);
        }
        let Some(member) = self.members.get(&sender) else {
            return Ok((envelope.kind, 0));
        };
        let before = effects.len();
        match &envelope.to {
            Some(user) => {
                let Some(target) = self.by_user.get(&**user) else {
                    return self.relay_to_node(sender, user, envelope);
                };
                effects.push(Effect::Deliver {
                    connection: *target,
                    frame: envelope.rewrite(&member.quoted, &self.id),
                    from: Some(sender),
                });
            }
            None => {
                let frame = envelope.rewrite(&member.quoted, &self.id);
                let others = self.members.keys().filter(|other| **other != sender);
                effects.extend(others.map(|other| deliver(*other, &frame, Some(sender))));
                if let Some(remote) = &mut self.remote {
                    let copies = remote.send_to_all(&member.user, sender, &frame, false);
                    return Ok((envelope.kind, effects.len() - before + copies));
                }
            }
        }
        Ok((envelope.kind, effects.len() - before))
    }

    fn too_many(&mut self, connection: ConnectionId, effects: &mut Vec<Effect>) -> Outcome {
        let code = CloseCode::TooManyMessages;
        self.close(connection, code, effects);
        Outcome::Closed(code)
    }

    /// Closes a connection. The others see its user leave.
    pub fn end(&mut self, connection: ConnectionId, code: CloseCode, effects: &mut Vec<Effect>) {
        if self.members.contains_key(&connection) {
            self.close(connection, code, effects);
        }
    }

    fn close(&mut self, connection: ConnectionId, code: CloseCode, effects: &mut Vec<Effect>) {
        effects.push(Effect::Close { connection, code });
        self.leave_for(Departure::by(code), connection, effects);
    }
}

fn deliver(connection: ConnectionId, frame: &Bytes, from: Option<ConnectionId>) -> Effect {
    Effect::Deliver {
        connection,
        frame: frame.clone(),
        from,
    }
}

pub use extended_member::AWAY_NOTICE;
pub use saved::SavedMember;
pub use saved_roster::SavedRoster;

mod admit;
mod announce;
mod announcement;
mod awaited;
mod cluster;
mod events;
mod extended;
mod extended_member;
mod live;
mod member;
mod presence;
mod remote;
mod requests;
mod saved;
mod saved_roster;
mod snapshot;
#[cfg(test)]
mod tests;
