//! The members of a room on other nodes, and the room's place in the roster.
//!
//! The room acts on the events of the roster alone when somebody enters, so that all nodes have one order.
//! A departure takes effect at once on its own node, because it must also do so while the roster is away.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::member::Member;
use crate::room::roster::{NodeId, Place, RemoteFrame, Request};
use crate::room::server_frame::{Participant, State};
use crate::room::{ConnectionId, Departure, Description, Role};

/// Replaced connections that a room remembers.
const MAX_ENDED: usize = 4096;

/// The room's knowledge of the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The roster lists no member of this node, and sends no events.
    Unlisted,
    /// The roster is unknown until the room restates its members.
    Stale,
    /// The room restated its members, and waits for the snapshot.
    Restating,
    /// The room follows the events.
    Listed,
}

#[derive(Debug)]
pub(super) struct Remote {
    /// This node.
    pub node: NodeId,
    pub standing: Standing,
    /// The number of the last event.
    pub seq: u64,
    /// Whether the current roster has yet to learn of the members.
    pub is_new_roster: bool,
    /// The number of the last [`Request::Restate`].
    pub restates: u64,
    /// The entries of this node in the roster. An entry may outlive its connection until the roster confirms
    /// the departure.
    pub listed: HashMap<Arc<str>, Listed>,
    pub entering: HashMap<ConnectionId, Entering>,
    /// Members who are closed as soon as the roster awaits their users.
    pub suspending: HashMap<Arc<str>, ConnectionId>,
    /// Users who left this node, of which those who are being suspended were not notified.
    pub unannounced: HashSet<Arc<str>>,
    /// The members on other nodes.
    pub members: HashMap<Arc<str>, RemoteMember>,
    /// Connections on other nodes that were replaced. After the roster is lost, a node may restate one of them
    /// because it did not learn of that.
    pub ended: HashSet<Place>,
    pub requests: Vec<Request>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    pub connection: ConnectionId,
    pub age: u64,
}

/// A connection that waits for its entry in the roster.
#[derive(Debug)]
pub(super) struct Entering {
    /// The member that it becomes.
    pub member: Member,
    /// Whether it continues the connection of an awaited user.
    pub resume: bool,
    /// Whether [`Request::Enter`] was sent to the current roster.
    pub is_requested: bool,
    /// Whether it was stated since. If the snapshot lacks it, it lost its place.
    pub is_stated: bool,
}

#[derive(Debug)]
pub(super) struct RemoteMember {
    pub place: Place,
    /// Stands for the connection in [`Effect::Deliver`].
    pub local: ConnectionId,
    /// Whether the current roster lists the member.
    pub is_confirmed: bool,
    /// `None`: only the id is known.
    pub description: Option<Box<Description>>,
    /// If the member's node restarts, and the member is expected back.
    pub awaited: Option<Awaited>,
}

#[derive(Debug)]
pub(super) struct Awaited {
    /// Members who are older than this know the member.
    pub since: u64,
    /// Members of this node who do not know the member, although they are older.
    pub unaware: Vec<Arc<str>>,
}

impl Remote {
    /// Whether the room may be dropped.
    pub(super) fn is_idle(&self) -> bool {
        self.standing == Standing::Unlisted && self.entering.is_empty() && self.requests.is_empty()
    }

    /// Records that a member left. Returns whether the roster has to learn of it.
    pub(super) fn leave(
        &mut self,
        user: &Arc<str>,
        connection: ConnectionId,
        reason: Departure,
    ) -> bool {
        self.suspending.remove(user);
        let is_listed = |listed: &Listed| listed.connection == connection;
        if !self.listed.get(user).is_some_and(is_listed) {
            return false; // Another connection took the place.
        }
        let is_known = self.standing != Standing::Stale;
        if is_known {
            self.request_leave(user.clone(), connection, reason);
        } else {
            self.listed.remove(user);
        }
        is_known
    }

    /// Records that a connection ended before it entered.
    pub(super) fn cancel(&mut self, connection: ConnectionId) {
        if let Some(entering) = self.entering.remove(&connection)
            && entering.is_requested
        {
            self.request_leave(entering.member.user, connection, Departure::Lost);
        }
    }

    pub(super) fn request_leave(
        &mut self,
        user: Arc<str>,
        connection: ConnectionId,
        reason: Departure,
    ) {
        self.requests.push(Request::Leave {
            user,
            connection,
            reason,
        });
    }

    /// Requests the change of the description of a member that the roster lists or is about to list.
    pub(super) fn describe(&mut self, connection: ConnectionId, member: &Member) {
        let is_listed = |listed: &Listed| listed.connection == connection;
        if self.listed.get(&member.user).is_some_and(is_listed) {
            self.requests.push(Request::Describe {
                user: member.user.clone(),
                connection,
                description: member.description(),
            });
        }
    }

    /// Queues a frame for all members on other nodes, or for those that speak `parlor.v1`; returns their number.
    pub(super) fn send_to_all(
        &mut self,
        user: &Arc<str>,
        from: ConnectionId,
        frame: &Bytes,
        is_extended: bool,
    ) -> usize {
        let is_receiver =
            |m: &&RemoteMember| m.awaited.is_none() && (!is_extended || m.is_extended());
        let present = self.members.values().filter(is_receiver);
        let nodes: HashSet<&NodeId> = present.clone().map(|m| &m.place.node).collect();
        let copies = present.count();
        self.requests
            .extend(nodes.into_iter().map(|node| Request::Send {
                node: node.clone(),
                frame: RemoteFrame {
                    user: user.clone(),
                    from,
                    to: None,
                    is_extended,
                    frame: frame.clone(),
                },
            }));
        copies
    }

    pub(super) fn age_of(&self, user: &Arc<str>) -> u64 {
        self.listed.get(user).map_or(0, |listed| listed.age)
    }

    pub(super) fn place(&self, connection: ConnectionId, age: u64) -> Place {
        Place {
            age,
            node: self.node.clone(),
            connection,
        }
    }

    pub(super) fn remember_ended(&mut self, place: Place) {
        if self.ended.len() >= MAX_ENDED {
            self.ended.clear();
        }
        self.ended.insert(place);
    }

    pub(super) fn lose_track(&mut self) {
        self.standing = Standing::Stale;
        self.requests.push(Request::Resync);
    }
}

impl RemoteMember {
    /// Whether the client speaks `parlor.v1`.
    pub(super) fn is_extended(&self) -> bool {
        let description = self.description.as_ref();
        description.is_some_and(|one| one.is_extended)
    }

    /// `user` is the user's id.
    pub(super) fn display_name<'a>(&'a self, user: &'a str) -> &'a str {
        let description = self.description.as_ref();
        description.map_or(user, |one| &one.profile.display_name)
    }

    /// The member as a participant. `user` is the user's id, and `quoted` is it as JSON.
    pub(super) fn participant<'a>(&'a self, user: &'a str, quoted: &'a str) -> Participant<'a> {
        match &self.description {
            Some(description) => description.participant(quoted),
            None => Participant {
                user: quoted,
                display_name: user,
                role: Role::Member,
                is_connected: true,
                joined_at: 0,
                state: State::default(),
            },
        }
    }
}
