//! Sets of users, rooms and memberships.

use std::collections::HashSet;

/// A membership as (user, room).
pub type MembershipKey = (Box<str>, Box<str>);

/// Users, rooms and memberships, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subjects {
    pub users: HashSet<Box<str>>,
    pub rooms: HashSet<Box<str>>,
    pub memberships: HashSet<MembershipKey>,
}

impl Subjects {
    /// Adds a membership, if a user and a room are given; else the one that is given.
    pub fn insert(&mut self, user: Option<&str>, room: Option<&str>) {
        match (user, room) {
            (Some(user), Some(room)) => {
                self.memberships.insert((user.into(), room.into()));
            }
            (Some(user), None) => {
                self.users.insert(user.into());
            }
            (None, Some(room)) => {
                self.rooms.insert(room.into());
            }
            (None, None) => {}
        }
    }

    pub fn extend(&mut self, other: Subjects) {
        self.users.extend(other.users);
        self.rooms.extend(other.rooms);
        self.memberships.extend(other.memberships);
    }

    /// The number of users, rooms and memberships.
    pub fn len(&self) -> usize {
        self.users.len() + self.rooms.len() + self.memberships.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
