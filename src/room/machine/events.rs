//! Events of the roster, and their effects.

use std::collections::HashSet;
use std::sync::Arc;

use super::remote::{Awaited, Listed, RemoteMember, Standing};
use super::{Effect, Room};
use crate::room::envelope::quoted;
use crate::room::roster::{NodeId, Place, Return, RosterEvent};
use crate::room::rule::{Rule, applies};
use crate::room::{CloseCode, ConnectionId, Departure, Description};

/// How a connection enters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arrival<'a> {
    /// As a newcomer.
    Entered,
    /// In place of the user's earlier connection, which these members of this node do not know of.
    Resumed(&'a Return, &'a [Arc<str>]),
    /// By a snapshot.
    Stated,
}

impl Room {
    /// Handles an event of the roster.
    pub fn apply(&mut self, event: RosterEvent, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let (standing, expected) = (remote.standing, remote.seq + 1);
        let seq = match event {
            RosterEvent::Refused { connection } => {
                return self.refuse(connection, CloseCode::Replaced, effects);
            }
            RosterEvent::Snapshot {
                seq,
                number,
                roster,
            } => {
                if standing == Standing::Restating && number == remote.restates {
                    self.take_snapshot(seq, roster, None, effects);
                }
                return;
            }
            RosterEvent::Entered {
                seq,
                user,
                roster: Some(roster),
                returned,
                ..
            } => {
                if matches!(standing, Standing::Unlisted | Standing::Listed) {
                    self.take_snapshot(seq, roster, Some((&user, returned.as_ref())), effects);
                }
                return;
            }
            RosterEvent::Described { seq, .. } => {
                return match standing {
                    Standing::Listed if seq < expected => self.change(event, effects),
                    Standing::Listed => remote.lose_track(),
                    _ => {}
                };
            }
            RosterEvent::Entered { seq, .. }
            | RosterEvent::Left { seq, .. }
            | RosterEvent::Suspended { seq, .. }
            | RosterEvent::AwaitedLeft { seq, .. }
            | RosterEvent::NodeGone { seq, .. }
            | RosterEvent::Restated { seq, .. } => seq,
        };
        match standing {
            Standing::Listed if seq < expected => {}
            Standing::Listed if seq == expected => {
                remote.seq = seq;
                self.change(event, effects);
            }
            Standing::Listed | Standing::Unlisted => remote.lose_track(),
            Standing::Stale | Standing::Restating => {}
        }
    }

    /// Carries out the next change of the roster.
    fn change(&mut self, event: RosterEvent, effects: &mut Vec<Effect>) {
        match event {
            RosterEvent::Entered {
                user,
                place,
                description,
                returned,
                ..
            } => {
                let returned = returned.as_ref();
                if let Some(returned) = returned.filter(|one| !one.is_resumed || place.is_none()) {
                    self.end_awaited(&user, &returned.newcomers, Departure::Lost, effects);
                }
                let returned = returned.filter(|one| one.is_resumed);
                let resumed = |returned| Arrival::Resumed(returned, &[]);
                let arrival = returned.map_or(Arrival::Entered, resumed);
                match place {
                    Some(place) => self.learn(user, place, description, arrival, effects),
                    None => self.end_earlier(&user, None, effects),
                }
            }
            RosterEvent::Suspended {
                user,
                node,
                connection,
                since,
                ..
            } => self.suspend(user, &node, connection, since, effects),
            RosterEvent::AwaitedLeft {
                user,
                newcomers,
                reason,
                ..
            } => self.end_awaited(&user, &newcomers, reason, effects),
            RosterEvent::Left {
                user,
                node,
                connection,
                reason,
                ..
            } => self.forget(&user, &node, connection, reason, effects),
            RosterEvent::Described {
                user,
                node,
                connection,
                description,
                ..
            } => {
                let remote = self.remote.as_ref();
                let member = remote.and_then(|remote| remote.members.get(&user));
                let is_it =
                    |m: &RemoteMember| m.place.node == node && m.place.connection == connection;
                if member.is_some_and(is_it) {
                    self.describe_remote(&user, description, effects);
                }
            }
            RosterEvent::NodeGone { node, .. } => {
                let is_gone = |m: &RemoteMember| m.place.node == node && m.awaited.is_none();
                self.remove_remote(|_, member| is_gone(member), Departure::Lost, effects);
            }
            RosterEvent::Restated {
                node,
                members,
                ended,
                ..
            } => {
                for user in ended {
                    self.end_earlier(&user, None, effects);
                }
                let users: HashSet<&Arc<str>> = members.iter().map(|one| &one.user).collect();
                let is_gone = |user: &Arc<str>, m: &RemoteMember| {
                    m.place.node == node && m.awaited.is_none() && !users.contains(user)
                };
                self.remove_remote(is_gone, Departure::Lost, effects);
                for entry in members {
                    self.learn_restated(entry, effects);
                }
            }
            RosterEvent::Snapshot { .. } | RosterEvent::Refused { .. } => {}
        }
        self.forget_if_unlisted();
    }

    /// Closes a connection that waits for its entry.
    pub(super) fn refuse(
        &mut self,
        connection: ConnectionId,
        code: CloseCode,
        effects: &mut Vec<Effect>,
    ) {
        let entering = self
            .remote
            .as_mut()
            .and_then(|r| r.entering.remove(&connection));
        if entering.is_some() {
            effects.push(Effect::Close { connection, code });
        }
    }

    /// Adds the place of a user, in place of an earlier one.
    pub(super) fn learn(
        &mut self,
        user: Arc<str>,
        place: Place,
        description: Option<Box<Description>>,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let earlier: Option<Awaited>;
        let mut arrival = arrival;
        if let Arrival::Resumed(returned, _) = arrival
            && applies(Rule::ResumedMembersStay)
        {
            // Nobody sees the user leave.
            earlier = remote.members.remove(&user).and_then(|one| one.awaited);
            match &earlier {
                Some(awaited) => arrival = Arrival::Resumed(returned, &awaited.unaware),
                None if place.node != remote.node => arrival = Arrival::Entered,
                None => {}
            }
        }
        if place.node == remote.node {
            return self.admit(user, place, description, arrival, effects);
        }
        if let Some(member) = remote.members.get_mut(&user)
            && member.place == place
        {
            member.is_confirmed = true;
            return self.describe_remote(&user, description, effects);
        }
        self.end_earlier(&user, Some(&place), effects);
        let local = ConnectionId(self.next);
        self.next = self.next.saturating_add(1);
        let member = RemoteMember {
            place,
            local,
            is_confirmed: true,
            description,
            awaited: None,
        };
        let quoted = quoted(&user);
        let participant = member.participant(&user, &quoted);
        self.notify_older(&participant, &member.place, arrival, effects);
        if let Some(remote) = &mut self.remote {
            remote.members.insert(user, member);
        }
    }

    /// Ends the connections of a user that `by` replaces, or another one without a place here.
    pub(super) fn end_earlier(
        &mut self,
        user: &Arc<str>,
        by: Option<&Place>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let own = by.filter(|place| place.node == remote.node);
        let kept = own.map(|place| place.connection);
        let is_kept = |listed: &mut Listed| Some(listed.connection) != kept;
        if remote.listed.get_mut(user).is_some_and(is_kept) {
            remote.listed.remove(user);
            self.notify_late(user, effects);
        }
        let Some(remote) = &mut self.remote else {
            return;
        };
        if let Some(member) = remote.members.remove(user) {
            // Of a lost roster, an older connection may be restated before a newer one.
            if by.is_none_or(|place| member.place < *place) {
                remote.remember_ended(member.place.clone());
            }
            self.notify_left(user, &member, Departure::Left, effects);
        }
        if let Some(&connection) = self.by_user.get(user)
            && Some(connection) != kept
        {
            self.close(connection, CloseCode::Replaced, effects);
        }
    }

    /// Removes an entry of the roster.
    fn forget(
        &mut self,
        user: &Arc<str>,
        node: &NodeId,
        connection: ConnectionId,
        reason: Departure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        if *node != remote.node {
            let is_it =
                |m: &RemoteMember| m.place.node == *node && m.place.connection == connection;
            return self.remove_remote(|other, m| other == user && is_it(m), reason, effects);
        }
        let is_it = |listed: &mut Listed| listed.connection == connection;
        if remote.listed.get_mut(user).is_some_and(is_it) {
            remote.listed.remove(user);
            remote.unannounced.remove(user);
        }
        if self.by_user.get(user) == Some(&connection) {
            // Another node knows that it was replaced.
            self.close(connection, CloseCode::Replaced, effects);
        }
    }

    /// Without an entry of this node, the roster sends no more events.
    pub(super) fn forget_if_unlisted(&mut self) {
        if let Some(remote) = &mut self.remote
            && remote.listed.is_empty()
        {
            remote.standing = Standing::Unlisted;
            remote.members.clear();
            remote.ended.clear();
        }
    }
}
