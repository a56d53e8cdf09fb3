//! Events of the roster, and their effects.

use std::collections::HashSet;
use std::sync::Arc;

use super::remote::{Awaited, Listed, RemoteMember, Standing};
use super::{Effect, Member, Room, deliver};
use crate::room::envelope::quoted;
use crate::room::error_budget::ErrorBudget;
use crate::room::roster::{Entry, NodeId, Place, Request, Return, RosterEvent};
use crate::room::rule::{Rule, applies};
use crate::room::{CloseCode, ConnectionId};

/// How a connection enters.
#[derive(Debug, Clone, Copy)]
enum Arrival<'a> {
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
                returned,
                ..
            } => {
                let returned = returned.as_ref();
                if let Some(returned) = returned.filter(|one| !one.is_resumed || place.is_none()) {
                    self.end_awaited(&user, &returned.newcomers, effects);
                }
                let returned = returned.filter(|one| one.is_resumed);
                let resumed = |returned| Arrival::Resumed(returned, &[]);
                let arrival = returned.map_or(Arrival::Entered, resumed);
                match place {
                    Some(place) => self.learn(user, place, arrival, effects),
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
                user, newcomers, ..
            } => self.end_awaited(&user, &newcomers, effects),
            RosterEvent::Left {
                user,
                node,
                connection,
                ..
            } => self.forget(&user, &node, connection, effects),
            RosterEvent::NodeGone { node, .. } => {
                let is_gone = |m: &RemoteMember| m.place.node == node && m.awaited.is_none();
                self.remove_remote(|_, member| is_gone(member), effects);
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
                self.remove_remote(is_gone, effects);
                for Entry { user, place, .. } in members {
                    self.learn_restated(user, place, effects);
                }
            }
            RosterEvent::Snapshot { .. } | RosterEvent::Refused { .. } => {}
        }
        self.forget_if_unlisted();
    }

    /// Replaces the known roster. `entered` is the user whose entry brought it.
    fn take_snapshot(
        &mut self,
        seq: u64,
        roster: Vec<Entry>,
        entered: Option<(&Arc<str>, Option<&Return>)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        remote.standing = Standing::Listed;
        remote.seq = seq;
        let (awaited, present): (Vec<Entry>, Vec<Entry>) = roster
            .into_iter()
            .partition(|entry| entry.awaited_since.is_some());
        let (own, others): (Vec<Entry>, Vec<Entry>) = present
            .into_iter()
            .partition(|entry| entry.place.node == remote.node);
        let known = awaited.iter().filter(|entry| {
            let member = remote.members.get(&entry.user);
            member.is_some_and(|member| member.place == entry.place)
        });
        let users = others.iter().chain(known);
        let users: HashSet<Arc<str>> = users.map(|entry| entry.user.clone()).collect();
        let listed = own.iter().map(|entry| {
            let Place {
                connection, age, ..
            } = entry.place;
            (entry.user.clone(), Listed { connection, age })
        });
        remote.listed = listed.collect();
        let is_gone = |user: &Arc<str>, m: &RemoteMember| {
            m.is_confirmed && !users.contains(user) && applies(Rule::UnlistedMembersLeave)
        };
        let gone = remote.members.iter().filter(|(user, m)| is_gone(user, m));
        let gone: Vec<Place> = gone.map(|(_, member)| member.place.clone()).collect();
        for place in gone {
            remote.remember_ended(place);
        }
        self.remove_remote(is_gone, effects);
        self.close_unlisted(effects);
        for Entry { user, place, .. } in others {
            self.learn_restated(user, place, effects);
        }
        for entry in awaited {
            self.learn_awaited(entry, effects);
        }
        let mut own: Vec<Entry> = own;
        own.sort_unstable_by_key(|entry| entry.place.age);
        // Before anybody is admitted, who would not know the earlier connections.
        for Entry { user, place, .. } in &own {
            self.end_earlier(user, Some(place), effects);
        }
        for Entry { user, place, .. } in own {
            let arrival = match entered {
                Some((one, Some(returned))) if *one == user && returned.is_resumed => {
                    Arrival::Resumed(returned, &[])
                }
                Some((one, _)) if *one == user => Arrival::Entered,
                _ => Arrival::Stated,
            };
            self.learn(user, place, arrival, effects);
        }
        self.abandon_suspensions(effects);
        self.refuse_unlisted(&users, effects);
        self.forget_if_unlisted();
    }

    /// Closes members that the roster does not list.
    fn close_unlisted(&mut self, effects: &mut Vec<Effect>) {
        let Some(remote) = &self.remote else { return };
        let is_unlisted = |(id, member): &(&ConnectionId, &Member)| {
            remote
                .listed
                .get(&member.user)
                .map(|listed| listed.connection)
                != Some(**id)
        };
        let unlisted = self.members.iter().filter(is_unlisted);
        let mut unlisted: Vec<ConnectionId> = unlisted.map(|(id, _)| *id).collect();
        unlisted.sort_unstable();
        for connection in unlisted {
            self.close(connection, CloseCode::Replaced, effects);
        }
    }

    /// Closes connections that were stated and that the roster does not list.
    fn refuse_unlisted(&mut self, elsewhere: &HashSet<Arc<str>>, effects: &mut Vec<Effect>) {
        let Some(remote) = &self.remote else { return };
        let entering = remote
            .entering
            .iter()
            .filter(|(_, entering)| entering.is_stated);
        let mut refused: Vec<(ConnectionId, CloseCode)> = entering
            .map(|(id, entering)| {
                if elsewhere.contains(&entering.user) {
                    (*id, CloseCode::Replaced)
                } else {
                    (*id, CloseCode::ConnectionError)
                }
            })
            .collect();
        refused.sort_unstable_by_key(|(id, _)| *id);
        for (connection, code) in refused {
            self.refuse(connection, code, effects);
        }
    }

    /// Closes a connection that waits for its entry.
    fn refuse(&mut self, connection: ConnectionId, code: CloseCode, effects: &mut Vec<Effect>) {
        let entering = self
            .remote
            .as_mut()
            .and_then(|r| r.entering.remove(&connection));
        if entering.is_some() {
            effects.push(Effect::Close { connection, code });
        }
    }

    /// Adds a place that a node restated. One that was replaced before is ended: its node did not learn of that
    /// before the roster was lost.
    fn learn_restated(&mut self, user: Arc<str>, place: Place, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let newer = remote
            .members
            .get(&user)
            .is_some_and(|member| place < member.place);
        let is_ended = newer || remote.ended.contains(&place);
        if is_ended && place.node != remote.node && applies(Rule::ReplacedMembersStayAway) {
            return remote.requests.push(Request::End { user, place });
        }
        self.learn(user, place, Arrival::Stated, effects);
    }

    /// Adds the place of a user, in place of an earlier one.
    fn learn(
        &mut self,
        user: Arc<str>,
        place: Place,
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
            return self.admit(user, place, arrival, effects);
        }
        if let Some(member) = remote.members.get_mut(&user)
            && member.place == place
        {
            member.is_confirmed = true;
            return;
        }
        self.end_earlier(&user, Some(&place), effects);
        let local = ConnectionId(self.next);
        self.next = self.next.saturating_add(1);
        self.notify_older(&user, &place, arrival, effects);
        if let Some(remote) = &mut self.remote {
            let member = RemoteMember {
                place,
                local,
                is_confirmed: true,
                awaited: None,
            };
            remote.members.insert(user, member);
        }
    }

    /// Makes a connection a member: of it and each other member, the older one is notified of the newer one.
    fn admit(
        &mut self,
        user: Arc<str>,
        place: Place,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Place {
            connection, age, ..
        } = place;
        self.end_earlier(&user, Some(&place), effects);
        let Some(remote) = &mut self.remote else {
            return;
        };
        remote
            .listed
            .insert(user.clone(), Listed { connection, age });
        if self.members.contains_key(&connection) {
            return;
        }
        let Some(entering) = remote.entering.remove(&connection) else {
            // It ended before, or the departure did not reach the roster.
            if applies(Rule::UnknownEntriesEnd) {
                remote.request_leave(user.clone(), connection);
            }
            if let Arrival::Resumed(returned, unaware) = arrival {
                self.notify_vain_return(&user, returned, unaware, effects);
            }
            return;
        };
        if entering.resume && matches!(arrival, Arrival::Stated) {
            // Whether it was resumed, and who left meanwhile, is lost.
            let code = CloseCode::ConnectionError;
            effects.push(Effect::Close { connection, code });
            return remote.request_leave(user, connection);
        }
        let returned = match arrival {
            Arrival::Resumed(returned, _) => Some(returned),
            Arrival::Entered | Arrival::Stated => None,
        };
        let is_resumed = returned.is_some();
        let member = Member {
            quoted: quoted(&user),
            user: user.clone(),
            used: entering.used,
            errors: ErrorBudget::default(),
            resumed: is_resumed,
            replacements: Vec::new(),
            profile: None,
            extended: None,
        };
        remote.requests.push(Request::Admitted {
            connection,
            is_resumed,
        });
        self.notify_older(&user, &place, arrival, effects);
        if let Some(returned) = returned {
            self.replay_departures_since(connection, returned, effects);
        }
        let Some(remote) = &self.remote else { return };
        let elsewhere = remote
            .members
            .iter()
            .map(|(user, m)| (user, m.place.clone()));
        let here = self.members.iter().map(|(id, other)| {
            let age = remote.age_of(&other.user);
            (&other.user, remote.place(*id, age))
        });
        let newer = here.chain(elsewhere).filter(|(_, other)| place < *other);
        for (other, _) in newer {
            let frame = self.presence("user-joined", &quoted(other));
            effects.push(deliver(connection, &frame, None));
        }
        self.by_user.insert(user, connection);
        self.members.insert(connection, member);
    }

    /// Notifies the members of this node who are older than `place` of its user. A resumed connection is the newest,
    /// and those who know its user are not notified.
    fn notify_older(
        &self,
        user: &str,
        place: &Place,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &self.remote else { return };
        let frame = self.presence("user-joined", &quoted(user));
        let is_older = |(id, member): &(&ConnectionId, &Member)| {
            let own = remote.place(**id, remote.age_of(&member.user));
            let is_newcomer = match arrival {
                Arrival::Resumed(returned, unaware) if applies(Rule::ResumedMembersStay) => {
                    returned.newcomers.contains(&member.user) || unaware.contains(&member.user)
                }
                _ => true,
            };
            is_newcomer && (own < *place || !applies(Rule::OlderIsNotified))
        };
        let older = self.members.iter().filter(is_older);
        effects.extend(older.map(|(id, _)| deliver(*id, &frame, None)));
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
            self.notify_left(user, &member, effects);
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
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        if *node != remote.node {
            let is_it =
                |m: &RemoteMember| m.place.node == *node && m.place.connection == connection;
            return self.remove_remote(|other, m| other == user && is_it(m), effects);
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
    fn forget_if_unlisted(&mut self) {
        if let Some(remote) = &mut self.remote
            && remote.listed.is_empty()
        {
            remote.standing = Standing::Unlisted;
            remote.members.clear();
            remote.ended.clear();
        }
    }
}
