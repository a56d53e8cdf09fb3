//! Members whose node restarts: the room awaits their users, and notifies no client if they return in time.
//!
//! The roster records which users knew an awaited user when the connection ended. So the room closes a connection only
//! after that record: until then it delivers every event that the record covers.

use std::sync::Arc;

use super::announcement::{Announcement, LOST};
use super::member::Member;
use super::remote::{Awaited, Listed, RemoteMember, Standing};
use super::{Effect, Room, deliver};
use crate::room::envelope::quoted;
use crate::room::roster::{Entry, NodeId, Place, Request, Return};
use crate::room::{CloseCode, ConnectionId, Departure, Description};

impl Room {
    /// Returns the users whom the room awaits because their node restarts, in no order.
    pub fn awaited_members(&self) -> impl Iterator<Item = (&Arc<str>, &Place)> {
        let members = self.remote.iter().flat_map(|remote| &remote.members);
        let awaited = members.filter(|(_, member)| member.awaited.is_some());
        awaited.map(|(user, member)| (user, &member.place))
    }

    /// Closes all connections because this node restarts, and asks the roster to await their users. If the node does not
    /// know the roster, or the roster was lost and is not complete yet, the users leave.
    pub fn suspend_all(&mut self, effects: &mut Vec<Effect>) {
        self.suspend_members(|_| true, effects);
    }

    /// As [`Room::suspend_all`], except members with sessions, which the next process continues.
    pub fn suspend_plain(&mut self, effects: &mut Vec<Effect>) {
        self.suspend_members(|member| member.extended.is_none(), effects);
    }

    fn suspend_members(
        &mut self,
        is_concerned: impl Fn(&Member) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let entering: Vec<ConnectionId> = remote.entering.keys().copied().collect();
        for connection in entering {
            let code = CloseCode::Restarting;
            effects.push(Effect::Close { connection, code });
            remote.cancel(connection);
        }
        let members = self.members.iter();
        let members = members.filter(|(_, member)| is_concerned(member));
        let members = members.map(|(connection, member)| (member.user.clone(), *connection));
        remote.suspending.extend(members);
        let is_complete = remote.members.values().all(|member| member.is_confirmed);
        if remote.standing != Standing::Listed || !is_complete {
            return self.abandon_suspensions(effects);
        }
        let mut suspending: Vec<ConnectionId> = remote.suspending.values().copied().collect();
        suspending.sort_unstable();
        for connection in suspending {
            if let Some(member) = self.members.get(&connection) {
                let user = member.user.clone();
                remote.requests.push(Request::Suspend { user, connection });
            }
        }
    }

    /// Closes the connections whose suspension the roster may not have recorded, and lets their users leave.
    pub(super) fn abandon_suspensions(&mut self, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        remote.unannounced.clear();
        let suspending = std::mem::take(&mut remote.suspending);
        let mut suspending: Vec<(Arc<str>, ConnectionId)> = suspending.into_iter().collect();
        suspending.sort_unstable();
        for (user, connection) in suspending {
            if self.members.contains_key(&connection) {
                self.close(connection, CloseCode::Restarting, effects);
                // The roster may await the user.
                if let Some(remote) = &mut self.remote {
                    let place = remote.place(connection, 0);
                    remote.requests.push(Request::End {
                        user,
                        place,
                        reason: Departure::Lost,
                    });
                }
            }
        }
    }

    /// Notifies the others that a member of this node left, except members who are being suspended. The roster records
    /// the departure after their suspension, so they learn of it when they return.
    pub(super) fn notify_departure(
        &mut self,
        gone: &Member,
        reason: Departure,
        is_requested: bool,
        effects: &mut Vec<Effect>,
    ) {
        let remote = self.remote.as_deref_mut();
        let Some(remote) = remote.filter(|one| is_requested && !one.suspending.is_empty()) else {
            return self.notify(|_| true, Announcement::Left(reason), &gone.quoted, effects);
        };
        remote.unannounced.insert(gone.user.clone());
        self.notify_suspending(false, &gone.quoted, effects);
    }

    /// Notifies the members who know a user that the user left: the connection that resumed the user's entry has ended
    /// before it was a member.
    pub(super) fn notify_vain_return(
        &mut self,
        user: &Arc<str>,
        returned: &Return,
        unaware: &[Arc<str>],
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        if !remote.suspending.is_empty() {
            remote.unannounced.insert(user.clone());
        }
        let Some(remote) = &self.remote else { return };
        let knows = |member: &Member| {
            let is_newcomer = returned.newcomers.contains(&member.user);
            let is_unaware = is_newcomer || unaware.contains(&member.user);
            !is_unaware && !remote.suspending.contains_key(&member.user)
        };
        self.notify(knows, LOST, &quoted(user), effects);
    }

    /// Notifies members who are being suspended of a departure that `notify_departure` kept from them. The roster
    /// recorded another entry of the user before their suspension, so it does not report the departure to them.
    pub(super) fn notify_late(&mut self, user: &Arc<str>, effects: &mut Vec<Effect>) {
        if let Some(remote) = &mut self.remote
            && remote.unannounced.remove(user)
        {
            self.notify_suspending(true, &quoted(user), effects);
        }
    }

    fn notify_suspending(&self, is_suspending: bool, user: &str, effects: &mut Vec<Effect>) {
        let Some(remote) = &self.remote else { return };
        let concerns =
            |member: &Member| remote.suspending.contains_key(&member.user) == is_suspending;
        self.notify(concerns, LOST, user, effects);
    }

    /// Awaits a user whose node restarts.
    pub(super) fn suspend(
        &mut self,
        user: Arc<str>,
        node: &NodeId,
        connection: ConnectionId,
        since: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let awaited = Awaited {
            since,
            unaware: Vec::new(),
        };
        if *node != remote.node {
            if let Some(member) = remote.members.get_mut(&user)
                && member.place.node == *node
                && member.place.connection == connection
            {
                member.awaited = Some(awaited);
            }
            return;
        }
        let is_it = |listed: &mut Listed| listed.connection == connection;
        if !remote.listed.get_mut(&user).is_some_and(is_it) {
            return;
        }
        let age = remote.age_of(&user);
        remote.listed.remove(&user);
        remote.suspending.remove(&user);
        let place = remote.place(connection, age);
        let member = self.remove_member(connection);
        if member.is_some() {
            let code = CloseCode::Restarting;
            effects.push(Effect::Close { connection, code });
        }
        let description = member.map(|member| member.description());
        self.insert_awaited(user, place, description, awaited);
    }

    /// Awaits a user whom a snapshot lists as awaited.
    pub(super) fn learn_awaited(&mut self, entry: Entry, effects: &mut Vec<Effect>) {
        let (Some(remote), Some(since)) = (&mut self.remote, entry.awaited_since) else {
            return;
        };
        let Entry {
            user,
            place,
            description,
            ..
        } = entry;
        if let Some(member) = remote.members.get_mut(&user)
            && member.place == place
        {
            member.is_confirmed = true;
            member.awaited.get_or_insert(Awaited {
                since,
                unaware: Vec::new(),
            });
            return;
        }
        self.end_earlier(&user, None, effects);
        // No member of this node was notified of the user.
        let unaware = self.by_user.keys().cloned().collect();
        self.insert_awaited(user, place, description, Awaited { since, unaware });
    }

    fn insert_awaited(
        &mut self,
        user: Arc<str>,
        place: Place,
        description: Option<Box<Description>>,
        awaited: Awaited,
    ) {
        let local = ConnectionId(self.next);
        self.next = self.next.saturating_add(1);
        let member = RemoteMember {
            place,
            local,
            is_confirmed: true,
            description,
            awaited: Some(awaited),
        };
        if let Some(remote) = &mut self.remote {
            remote.members.insert(user, member);
        }
    }

    /// Ends the wait for a user, and notifies the members who know the user.
    pub(super) fn end_awaited(
        &mut self,
        user: &str,
        newcomers: &[Arc<str>],
        reason: Departure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let is_awaited = |member: &mut RemoteMember| member.awaited.is_some();
        if remote.members.get_mut(user).is_some_and(is_awaited)
            && let Some(member) = remote.members.remove(user)
            && let Some(awaited) = member.awaited
        {
            let knows = |member: &Member| {
                !newcomers.contains(&member.user) && !awaited.unaware.contains(&member.user)
            };
            self.notify(knows, Announcement::Left(reason), &quoted(user), effects);
        }
    }

    /// Notifies the members who know a member on another node that the latter left.
    pub(super) fn notify_left(
        &self,
        user: &str,
        gone: &RemoteMember,
        reason: Departure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &self.remote else { return };
        let knows = |member: &Member| match &gone.awaited {
            None => true,
            Some(awaited) => {
                let is_older = member.resumed || remote.age_of(&member.user) < awaited.since;
                is_older && !awaited.unaware.contains(&member.user)
            }
        };
        self.notify(knows, Announcement::Left(reason), &quoted(user), effects);
    }

    /// Notifies a resumed connection of the users who left meanwhile, also of those whose departure from this node the
    /// roster has yet to record.
    pub(super) fn replay_departures_since(
        &self,
        connection: ConnectionId,
        returned: &Return,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &self.remote else { return };
        let is_leaving = |(user, listed): &(&Arc<str>, &Listed)| {
            let is_member = self.members.contains_key(&listed.connection);
            !is_member && listed.connection != connection && !returned.newcomers.contains(user)
        };
        let leaving = remote.listed.iter().filter(is_leaving);
        for left in returned.left.iter().chain(leaving.map(|(user, _)| user)) {
            let frame = self.presence("user-left", &quoted(left));
            effects.push(deliver(connection, &frame, None));
        }
    }
}
