//! The place of a room in the roster of several nodes, for the next process of the same node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Room;
use super::remote::{Awaited, Listed, Remote, RemoteMember, Standing};
use crate::room::roster::{NodeId, Place};
use crate::room::{ConnectionId, Departure, Description};

/// The roster, as far as the room has followed its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoster {
    /// The number of the next connection.
    next: u64,
    seq: u64,
    restates: u64,
    /// The entries of this node, as (user, connection, age).
    listed: Vec<(String, u64, u64)>,
    members: Vec<SavedRemoteMember>,
    ended: Vec<SavedPlace>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedPlace {
    node: String,
    connection: u64,
    age: u64,
}

/// A member on another node, or an awaited one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedRemoteMember {
    user: String,
    place: SavedPlace,
    local: u64,
    /// [`Description::to_text`].
    description: Option<String>,
    /// `since` and `unaware` of an awaited member.
    awaited: Option<(u64, Vec<String>)>,
}

impl Room {
    /// Whether the sessions of this room can continue in the next process: the room follows the roster, and knows all
    /// of it.
    pub fn follows_roster(&self) -> bool {
        let is_followed = |remote: &Remote| {
            let mut members = remote.members.values();
            remote.standing == Standing::Listed && members.all(|member| member.is_confirmed)
        };
        self.remote.as_deref().is_some_and(is_followed)
    }

    /// Whether the roster may list members of this node.
    pub fn may_be_listed(&self) -> bool {
        let remote = self.remote.as_deref();
        remote.is_some_and(|remote| remote.standing != Standing::Unlisted)
    }

    /// The roster for the next process; `None` if the room has lost track of it, or does not follow it.
    pub fn save_roster(&self) -> Option<SavedRoster> {
        let remote = self.remote.as_ref().filter(|_| self.follows_roster())?;
        let listed = remote.listed.iter();
        let listed = listed.map(|(user, one)| (user.to_string(), one.connection.number(), one.age));
        let members = remote.members.iter();
        Some(SavedRoster {
            next: self.next.get(),
            seq: remote.seq,
            restates: remote.restates,
            listed: listed.collect(),
            members: members.map(|(user, one)| save_member(user, one)).collect(),
            ended: remote.ended.iter().map(save_place).collect(),
        })
    }

    /// Continues with a roster of the previous process, before its members are restored. False if it is not valid.
    pub fn restore_roster(&mut self, saved: &SavedRoster) -> bool {
        let listed = saved.listed.iter().map(|(user, connection, age)| {
            let connection = ConnectionId::new(*connection)?;
            Some((
                Arc::from(&**user),
                Listed {
                    connection,
                    age: *age,
                },
            ))
        });
        let members = saved.members.iter().map(restore_member);
        let ended = saved.ended.iter().map(restore_place);
        let (Some(listed), Some(members), Some(ended), Some(next), Some(remote)) = (
            listed.collect(),
            members.collect(),
            ended.collect(),
            ConnectionId::new(saved.next),
            &mut self.remote,
        ) else {
            return false;
        };
        remote.standing = Standing::Listed;
        remote.seq = saved.seq;
        remote.restates = saved.restates;
        remote.listed = listed;
        remote.members = members;
        remote.ended = ended;
        self.next = self.next.max(next.0);
        true
    }

    /// Ends the entries of connections that the previous process did not save.
    pub fn end_unsaved_entries(&mut self) {
        let Some(remote) = &mut self.remote else {
            return;
        };
        let listed = remote
            .listed
            .iter()
            .map(|(user, one)| (user.clone(), one.connection));
        let mut unsaved: Vec<(Arc<str>, ConnectionId)> = listed
            .filter(|(_, connection)| !self.members.contains_key(connection))
            .collect();
        unsaved.sort_unstable();
        for (user, connection) in unsaved {
            remote.request_leave(user, connection, Departure::Lost);
        }
    }
}

fn save_member(user: &str, member: &RemoteMember) -> SavedRemoteMember {
    let awaited = member.awaited.as_ref().map(|awaited| {
        let unaware = awaited.unaware.iter().map(ToString::to_string);
        (awaited.since, unaware.collect())
    });
    SavedRemoteMember {
        user: user.to_owned(),
        place: save_place(&member.place),
        local: member.local.number(),
        description: member.description.as_ref().map(|one| one.to_text()),
        awaited,
    }
}

fn restore_member(saved: &SavedRemoteMember) -> Option<(Arc<str>, RemoteMember)> {
    let description = match &saved.description {
        Some(text) => Some(Box::new(Description::parse(text)?)),
        None => None,
    };
    let awaited = saved.awaited.as_ref().map(|(since, unaware)| Awaited {
        since: *since,
        unaware: unaware.iter().map(|user| Arc::from(&**user)).collect(),
    });
    let member = RemoteMember {
        place: restore_place(&saved.place)?,
        local: ConnectionId::new(saved.local)?,
        is_confirmed: true,
        description,
        awaited,
    };
    Some((Arc::from(&*saved.user), member))
}

fn save_place(place: &Place) -> SavedPlace {
    SavedPlace {
        node: place.node.to_string(),
        connection: place.connection.number(),
        age: place.age,
    }
}

fn restore_place(saved: &SavedPlace) -> Option<Place> {
    Some(Place {
        age: saved.age,
        node: NodeId::from(&*saved.node),
        connection: ConnectionId::new(saved.connection)?,
    })
}
