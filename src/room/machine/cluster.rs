//! A room of several nodes: its connections, requests and frames.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::member::Member;
use super::remote::{Entering, Listed, Remote, RemoteMember, Standing};
use super::{Effect, Entrant, Room, deliver};
use crate::clock::Mono;
use crate::room::envelope::{Envelope, quoted};
use crate::room::error_budget::ErrorBudget;
use crate::room::reserved::for_extended;
use crate::room::roster::{NodeId, Place, RemoteFrame, Request, StatedMember};
use crate::room::rule::{Rule, applies};
use crate::room::{CloseCode, ConnectionId, Departure, Description, DropReason, Kind, Role};

impl Room {
    /// Makes an empty room one of several nodes. Its connections are numbered from `first`; a room that was
    /// dropped and is created again needs greater numbers.
    pub fn connect(&mut self, node: NodeId, first: ConnectionId) {
        self.next = first.0;
        self.remote = Some(Box::new(Remote {
            node,
            standing: Standing::Unlisted,
            seq: 0,
            is_new_roster: false,
            restates: 0,
            listed: HashMap::new(),
            entering: HashMap::new(),
            suspending: HashMap::new(),
            unannounced: HashSet::new(),
            members: HashMap::new(),
            ended: HashSet::new(),
            requests: Vec::new(),
        }));
    }

    /// Adds a connection to a room of several nodes, in place of [`Room::join`]. It is a member after
    /// [`Request::Admitted`], unless it is closed before. With `resume` it continues a connection that ended by the
    /// restart of a node.
    pub fn enter(&mut self, user: &str, resume: bool, now: Mono) -> ConnectionId {
        self.enter_as(Entrant::plain(user, resume), now)
    }

    /// [`Room::enter`] with a profile and a protocol.
    pub fn enter_as(&mut self, entrant: Entrant<'_>, now: Mono) -> ConnectionId {
        let Entrant {
            user,
            profile,
            is_extended,
            resume,
        } = entrant;
        self.latest = now;
        self.used_by_user.retain(|_, used| !used.is_idle(now));
        let connection = ConnectionId(self.next);
        self.next = self.next.saturating_add(1);
        let user: Arc<str> = Arc::from(user);
        let member = Member {
            quoted: quoted(&user),
            used: self.used_by_user.remove(&user).unwrap_or_default(),
            user: user.clone(),
            errors: ErrorBudget::default(),
            resumed: false,
            replacements: Vec::new(),
            profile,
            extended: is_extended.then(Box::default),
        };
        if let Some(remote) = &mut self.remote {
            let is_requested = remote.standing != Standing::Stale;
            remote.requests.push(if is_requested {
                Request::Enter {
                    user,
                    connection,
                    resume,
                    description: member.description(),
                }
            } else {
                Request::Resync
            });
            remote.entering.insert(
                connection,
                Entering {
                    member,
                    resume,
                    is_requested,
                    is_stated: false,
                },
            );
        }
        connection
    }

    /// Takes the queued requests.
    pub fn take_requests(&mut self) -> Vec<Request> {
        let remote = self.remote.as_mut();
        remote.map_or_else(Vec::new, |remote| std::mem::take(&mut remote.requests))
    }

    /// The members on other nodes, in no order.
    pub fn remote_members(&self) -> impl Iterator<Item = (&Arc<str>, &Place)> {
        let members = self.remote.iter().flat_map(|remote| &remote.members);
        let present = members.filter(|(_, member)| member.awaited.is_none());
        present.map(|(user, member)| (user, &member.place))
    }

    /// Records that the roster is empty or unknown, as after a restart of the server that keeps it. Members on
    /// other nodes count as connected until their node restates them, or [`Room::forget_unconfirmed`].
    pub fn roster_lost(&mut self) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        for member in remote.members.values_mut() {
            member.is_confirmed = false;
        }
        self.forget_entries();
    }

    /// Records that this node was evicted and continues as `node`: the other nodes removed its members, so
    /// these see the members of other nodes leave, and then enter anew.
    pub fn fenced(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        remote.node = node;
        let gone: Vec<(Arc<str>, RemoteMember)> = remote.members.drain().collect();
        for (user, member) in gone {
            self.notify_left(&user, &member, Departure::Lost, effects);
        }
        self.forget_entries();
    }

    fn forget_entries(&mut self) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        remote.is_new_roster = true;
        for entering in remote.entering.values_mut() {
            entering.is_requested = false;
            entering.is_stated = false;
        }
        let by_user = &self.by_user;
        let is_member =
            |user: &Arc<str>, listed: &mut Listed| by_user.get(user) == Some(&listed.connection);
        remote.listed.retain(is_member);
        let stays =
            |request: &Request| matches!(request, Request::Send { .. } | Request::Admitted { .. });
        remote.requests.retain(stays);
        let is_used = !remote.listed.is_empty() || !remote.entering.is_empty();
        if is_used || !remote.members.is_empty() {
            remote.lose_track();
        } else {
            remote.standing = Standing::Unlisted;
        }
    }

    /// Records that events may be missing: the room restates its members.
    pub fn events_lost(&mut self) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let is_used = !remote.is_idle();
        if is_used && remote.standing != Standing::Stale {
            remote.lose_track();
        }
    }

    /// Requests [`Request::Restate`] if the room needs it, and the entries that waited for it.
    pub fn restate(&mut self) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        if remote.standing != Standing::Stale {
            return;
        }
        remote.standing = Standing::Restating;
        // A member that the current roster listed, and does not any more, left or was replaced.
        let is_new =
            std::mem::take(&mut remote.is_new_roster) || !applies(Rule::MembersAreListedOnce);
        let mut members: Vec<StatedMember> = remote
            .listed
            .iter()
            .map(|(user, listed)| StatedMember {
                user: user.clone(),
                connection: listed.connection,
                age: is_new.then_some(listed.age),
                description: describe(&self.members, listed.connection),
            })
            .collect();
        let mut waiting = Vec::new();
        for (connection, entering) in &mut remote.entering {
            let (member, connection) = (&entering.member, *connection);
            let (user, description) = (member.user.clone(), member.description());
            if entering.is_requested {
                entering.is_stated = true;
                members.push(StatedMember {
                    user,
                    connection,
                    age: None,
                    description: Some(description),
                });
            } else {
                entering.is_requested = true;
                waiting.push(Request::Enter {
                    user,
                    connection,
                    resume: entering.resume,
                    description,
                });
            }
        }
        members.sort_unstable_by(|one, other| one.user.cmp(&other.user));
        remote.restates += 1;
        remote.requests.push(Request::Restate {
            number: remote.restates,
            members,
        });
        waiting.sort_unstable_by_key(|request| match request {
            Request::Enter { connection, .. } => Some(*connection),
            _ => None,
        });
        remote.requests.extend(waiting);
    }

    /// Removes members that a lost roster listed and that the current one does not, on nodes that restated all
    /// their members.
    pub fn nodes_restated(
        &mut self,
        is_restated: impl Fn(&NodeId) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let listed = |remote: &Remote| remote.standing == Standing::Listed;
        if self.remote.as_deref().is_some_and(listed) {
            self.remove_remote(
                |_, m| !m.is_confirmed && is_restated(&m.place.node),
                Departure::Lost,
                effects,
            );
        }
    }

    /// Removes members on other nodes.
    pub(super) fn remove_remote(
        &mut self,
        is_gone: impl Fn(&Arc<str>, &RemoteMember) -> bool,
        reason: Departure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let gone = remote
            .members
            .extract_if(|user, member| is_gone(user, member));
        let mut gone: Vec<(Arc<str>, RemoteMember)> = gone.collect();
        gone.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (user, member) in gone {
            self.notify_left(&user, &member, reason, effects);
        }
    }

    /// Removes members that no node restated in time. Returns their nodes, which must not restate them later:
    /// evict them.
    pub fn forget_unconfirmed(&mut self, effects: &mut Vec<Effect>) -> Vec<NodeId> {
        let members = self
            .remote
            .iter()
            .flat_map(|remote| remote.members.values());
        let unconfirmed = members.filter(|member| !member.is_confirmed);
        let mut nodes: Vec<NodeId> = unconfirmed.map(|m| m.place.node.clone()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        self.remove_remote(|_, member| !member.is_confirmed, Departure::Lost, effects);
        nodes
    }

    /// Delivers a frame of a member on another node. Returns the number of copies; none if the sender or the
    /// receiver is no member any more.
    pub fn receive_remote(
        &self,
        node: &NodeId,
        sent: &RemoteFrame,
        effects: &mut Vec<Effect>,
    ) -> usize {
        let sender = self.remote.as_ref().and_then(|r| r.members.get(&sent.user));
        let is_sender =
            |m: &&RemoteMember| m.place.node == *node && m.place.connection == sent.from;
        let Some(sender) = sender.filter(is_sender) else {
            return 0;
        };
        let before = effects.len();
        let extended = (self.extended > 0).then(|| for_extended(&sent.frame));
        let is_target = |id: &ConnectionId| sent.to.is_none_or(|to| to == *id);
        for (id, member) in self.members.iter().filter(|(id, _)| is_target(id)) {
            match (&member.extended, &extended) {
                (Some(_), Some(frame)) => effects.push(deliver(*id, frame, Some(sender.local))),
                _ if sent.is_extended => {}
                _ => effects.push(deliver(*id, &sent.frame, Some(sender.local))),
            }
        }
        effects.len() - before
    }

    /// Relays a message to a member on another node.
    pub(super) fn relay_to_node(
        &mut self,
        sender: ConnectionId,
        to: &str,
        envelope: &Envelope<'_>,
    ) -> Result<(Kind, usize), DropReason> {
        let (Some(remote), Some(member)) = (&mut self.remote, self.members.get(&sender)) else {
            return Err(DropReason::NoSuchTarget);
        };
        let target = remote.members.get(to);
        let target = target.filter(|member| member.awaited.is_none());
        let target = target.ok_or(DropReason::NoSuchTarget)?;
        let is_extended = envelope.kind == Kind::Message;
        if is_extended && !target.is_extended() {
            return Err(DropReason::PlainTarget);
        }
        let frame = RemoteFrame {
            user: member.user.clone(),
            from: sender,
            to: Some(target.place.connection),
            is_extended,
            frame: envelope.rewrite(&member.quoted, &self.id),
        };
        let node = target.place.node.clone();
        remote.requests.push(Request::Send { node, frame });
        Ok((envelope.kind, 1))
    }

    /// Closes the connection of a user that waits for its entry, and ends the wait for an awaited user.
    pub(super) fn close_entering(
        &mut self,
        user: &str,
        reason: Departure,
        code: CloseCode,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(remote) = &mut self.remote else {
            return false;
        };
        if let Some((user, member)) = remote.members.get_key_value(user)
            && member.awaited.is_some()
        {
            let (user, place) = (user.clone(), member.place.clone());
            remote.requests.push(Request::End {
                user,
                place,
                reason,
            });
        }
        let of_user = remote
            .entering
            .iter()
            .filter(|(_, entering)| *entering.member.user == *user);
        let connections: Vec<ConnectionId> = of_user.map(|(id, _)| *id).collect();
        for &connection in &connections {
            effects.push(Effect::Close { connection, code });
            remote.cancel(connection);
        }
        !connections.is_empty()
    }

    /// Records the role of a user whose connection waits for its entry.
    pub(super) fn set_role_of_entering(&mut self, user: &str, role: Role) {
        let entering = self
            .remote
            .iter_mut()
            .flat_map(|one| one.entering.values_mut());
        for entering in entering.filter(|entering| *entering.member.user == *user) {
            if let Some(profile) = &mut entering.member.profile {
                profile.role = role;
            }
        }
    }

    /// Requests the departure of all members, before they are closed.
    pub(super) fn leave_roster(&mut self, code: CloseCode, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        for (connection, member) in &self.members {
            remote.leave(&member.user, *connection, Departure::by(code));
        }
        let entering: Vec<ConnectionId> = remote.entering.keys().copied().collect();
        for connection in entering {
            effects.push(Effect::Close { connection, code });
            remote.cancel(connection);
        }
    }
}

fn describe(
    members: &HashMap<ConnectionId, Member>,
    connection: ConnectionId,
) -> Option<Box<Description>> {
    members.get(&connection).map(Member::description)
}

#[cfg(test)]
mod extended_tests;
#[cfg(test)]
mod tests;
