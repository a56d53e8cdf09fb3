//! Snapshots of the roster.

use std::collections::HashSet;
use std::sync::Arc;

use super::events::Arrival;
use super::member::Member;
use super::remote::{Listed, RemoteMember, Standing};
use super::{Effect, Room};
use crate::room::roster::{Entry, Place, Request, Return};
use crate::room::rule::{Rule, applies};
use crate::room::{CloseCode, ConnectionId, Departure};

impl Room {
    /// Replaces the known roster. `entered` is the user whose entry brought it.
    pub(super) fn take_snapshot(
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
        self.remove_remote(is_gone, Departure::Lost, effects);
        self.close_unlisted(effects);
        for entry in others {
            self.learn_restated(entry, effects);
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
        for Entry {
            user,
            place,
            description,
            ..
        } in own
        {
            let arrival = match entered {
                Some((one, Some(returned))) if *one == user && returned.is_resumed => {
                    Arrival::Resumed(returned, &[])
                }
                Some((one, _)) if *one == user => Arrival::Entered,
                _ => Arrival::Stated,
            };
            self.learn(user, place, description, arrival, effects);
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
                if elsewhere.contains(&entering.member.user) {
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

    /// Adds a place that a node restated. One that was replaced before is ended: its node did not learn of that
    /// before the roster was lost.
    pub(super) fn learn_restated(&mut self, entry: Entry, effects: &mut Vec<Effect>) {
        let Entry {
            user,
            place,
            description,
            ..
        } = entry;
        let Some(remote) = &mut self.remote else {
            return;
        };
        let newer = remote
            .members
            .get(&user)
            .is_some_and(|member| place < member.place);
        let is_ended = newer || remote.ended.contains(&place);
        if is_ended && place.node != remote.node && applies(Rule::ReplacedMembersStayAway) {
            return remote.requests.push(Request::End {
                user,
                place,
                reason: Departure::Left,
            });
        }
        self.learn(user, place, description, Arrival::Stated, effects);
    }
}
