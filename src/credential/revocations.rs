//! Revoked users, memberships and rooms: credentials that are refused although their password is
//! correct.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use super::subjects::{MembershipKey, Subjects};
use super::username::{CredentialSubject, Username};

/// The users, memberships and rooms whose credentials are revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevokedSet {
    /// Disabled and deleted users.
    pub users: HashSet<Box<str>>,
    /// Memberships that have ended. They revoke credentials that are bound to the room.
    pub memberships: HashMap<MembershipKey, RevokedGenerations>,
    /// Closed rooms. They revoke credentials that are bound to them.
    pub rooms: HashSet<Box<str>>,
    /// The token generations of users whose tokens were ended. Credentials stay valid; the map lets
    /// the daemon notice a sign-out by another process.
    pub generations: HashMap<Box<str>, u64>,
}

impl RevokedSet {
    /// Returns the part that concerns these subjects.
    pub fn of(&self, subjects: &Subjects) -> RevokedSet {
        let Subjects {
            users,
            rooms,
            memberships,
        } = subjects;
        RevokedSet {
            users: self.users.intersection(users).cloned().collect(),
            rooms: self.rooms.intersection(rooms).cloned().collect(),
            memberships: values(&self.memberships, memberships),
            generations: values(&self.generations, users),
        }
    }

    /// Replaces the part that concerns these subjects, and returns the previous one.
    fn replace_part(&mut self, subjects: &Subjects, part: RevokedSet) -> RevokedSet {
        let previous = self.of(subjects);
        for user in &subjects.users {
            self.users.remove(user);
            self.generations.remove(user);
        }
        for room in &subjects.rooms {
            self.rooms.remove(room);
        }
        for membership in &subjects.memberships {
            self.memberships.remove(membership);
        }
        self.users.extend(part.users);
        self.rooms.extend(part.rooms);
        self.memberships.extend(part.memberships);
        self.generations.extend(part.generations);
        previous
    }
}

/// The entries of a map with these keys.
fn values<K: Clone + Eq + Hash, V: Copy>(map: &HashMap<K, V>, keys: &HashSet<K>) -> HashMap<K, V> {
    let found = keys.iter().filter_map(|key| Some((key, *map.get(key)?)));
    found.map(|(key, value)| (key.clone(), value)).collect()
}

/// The generations of a membership whose credentials are revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokedGenerations {
    All,
    /// Those before this one.
    Before(u64),
}

impl RevokedGenerations {
    /// The generations that the end of a membership revokes. A program that ended it without counting revokes all.
    pub fn ended(next_generation: u64) -> RevokedGenerations {
        match next_generation {
            0 => RevokedGenerations::All,
            _ => RevokedGenerations::Before(next_generation),
        }
    }

    /// Whether a credential of this generation is revoked.
    pub fn includes(self, generation: u64) -> bool {
        match self {
            RevokedGenerations::All => true,
            RevokedGenerations::Before(first) => generation < first,
        }
    }

    /// Whether credentials are revoked that `earlier` did not revoke.
    pub fn is_more_than(self, earlier: Option<RevokedGenerations>) -> bool {
        match (self, earlier) {
            (_, None) => true,
            (_, Some(RevokedGenerations::All)) => false,
            (RevokedGenerations::All, _) => true,
            (RevokedGenerations::Before(now), Some(RevokedGenerations::Before(then))) => now > then,
        }
    }
}

/// The current [`RevokedSet`] and the known rooms. All shards share it, and read it for Allocate
/// and Refresh only.
#[derive(Debug, Default)]
pub struct Revocations {
    inner: RwLock<RevokedSet>,
    /// Every room, open or closed. No room is removed, so that a username keeps its meaning.
    rooms: RwLock<HashSet<Box<str>>>,
}

impl Revocations {
    /// Resolves a username to a user and a room.
    pub fn resolve<'a>(&self, username: Username<'a>) -> CredentialSubject<'a> {
        if !username.subject.contains('/') {
            return username.resolve_with(|_| false);
        }
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        username.resolve_with(|room| rooms.contains(room))
    }

    /// Adds ids of rooms.
    pub fn add_rooms<'a>(&self, rooms: impl IntoIterator<Item = &'a str>) {
        let mut known = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        for room in rooms {
            if !known.contains(room) {
                known.insert(room.into());
            }
        }
    }

    /// Returns whether the credential of this subject is revoked.
    pub fn is_revoked(&self, subject: &CredentialSubject<'_>) -> bool {
        let revoked = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if subject
            .room
            .is_some_and(|room| revoked.rooms.contains(room))
        {
            return true;
        }
        // A name that begins with the user and a `/` is revoked with the user: see `belongs_to`.
        let user = subject.user;
        let base = user
            .and_then(|user| user.split_once('/'))
            .map(|(base, _)| base);
        user.into_iter().chain(base).any(|user| {
            revoked.users.contains(user)
                || subject.room.is_some_and(|room| {
                    let pair = (Box::from(user), Box::from(room));
                    let generations = revoked.memberships.get(&pair);
                    generations.is_some_and(|revoked| revoked.includes(subject.generation))
                })
        })
    }

    /// Revokes all credentials of a user.
    pub fn revoke_user(&self, user: &str) {
        self.write(|revoked| revoked.users.insert(user.into()));
    }

    /// Undoes [`Revocations::revoke_user`].
    pub fn restore_user(&self, user: &str) {
        self.write(|revoked| revoked.users.remove(user));
    }

    /// Records that the tokens of `user` before this generation have ended.
    pub fn end_tokens(&self, user: &str, generation: u64) {
        self.write(|revoked| revoked.generations.insert(user.into(), generation));
    }

    /// Revokes credentials of a user that are bound to a room. Those that are revoked stay revoked.
    pub fn revoke_membership(&self, user: &str, room: &str, generations: RevokedGenerations) {
        let pair = (user.into(), room.into());
        self.write(|revoked| {
            let known = revoked.memberships.get(&pair).copied();
            if generations.is_more_than(known) {
                revoked.memberships.insert(pair, generations);
            }
        });
    }

    /// Accepts the credentials of a user that are bound to a room from this generation on. Returns those that were
    /// revoked before.
    pub fn restore_membership(
        &self,
        user: &str,
        room: &str,
        generation: u64,
    ) -> Option<RevokedGenerations> {
        let pair = (user.into(), room.into());
        self.write(|revoked| match generation {
            0 => revoked.memberships.remove(&pair),
            _ => {
                let before = RevokedGenerations::Before(generation);
                revoked.memberships.insert(pair, before)
            }
        })
    }

    /// Revokes the credentials that are bound to a room.
    pub fn revoke_room(&self, room: &str) {
        self.write(|revoked| revoked.rooms.insert(room.into()));
    }

    /// The part that concerns these subjects.
    pub fn part(&self, subjects: &Subjects) -> RevokedSet {
        let revoked = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        revoked.of(subjects)
    }

    /// Whether this is the current set.
    pub fn is_current(&self, revoked: &RevokedSet) -> bool {
        *self.inner.read().unwrap_or_else(PoisonError::into_inner) == *revoked
    }

    /// Whether this is the part of the current set that concerns these subjects.
    pub fn is_current_part(&self, subjects: &Subjects, part: &RevokedSet) -> bool {
        self.part(subjects) == *part
    }

    /// Replaces the set by that of the database, and returns the previous one.
    pub fn replace(&self, revoked: RevokedSet) -> RevokedSet {
        self.write(|known| std::mem::replace(known, revoked))
    }

    /// Replaces the part of the set that concerns these subjects by that of the database, and returns the previous
    /// one.
    pub fn replace_part(&self, subjects: &Subjects, part: RevokedSet) -> RevokedSet {
        self.write(|known| known.replace_part(subjects, part))
    }

    fn write<T>(&self, change: impl FnOnce(&mut RevokedSet) -> T) -> T {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves a name with the known room `lobby`.
    fn subject(name: &str) -> Option<CredentialSubject<'_>> {
        Some(Username::parse(name)?.resolve_with(|room| room == "lobby"))
    }

    #[test]
    fn leaving_revokes_only_the_room_bound_credential_until_the_user_rejoins() {
        let revocations = Revocations::default();
        revocations.revoke_membership("alice", "lobby", RevokedGenerations::Before(1));
        let bound = subject("1:alice/lobby").unwrap();
        let free = subject("1:alice").unwrap();
        assert!(revocations.is_revoked(&bound) && !revocations.is_revoked(&free));
        revocations.restore_membership("alice", "lobby", 0);
        assert!(!revocations.is_revoked(&bound));
        revocations.revoke_room("lobby");
        assert!(revocations.is_revoked(&bound) && !revocations.is_revoked(&free));
        revocations.revoke_user("alice");
        assert!(revocations.is_revoked(&bound) && revocations.is_revoked(&free));
    }

    #[test]
    fn a_rejoin_accepts_credentials_of_its_own_and_later_generations_alone() {
        let revocations = Revocations::default();
        revocations.revoke_membership("alice", "lobby", RevokedGenerations::All);
        revocations.restore_membership("alice", "lobby", 2);
        let is_revoked = |name| revocations.is_revoked(&subject(name).unwrap());
        for old in ["1:alice/lobby", "1:alice/lobby/0", "1:alice/lobby/1"] {
            assert!(is_revoked(old), "{old}");
        }
        for current in [
            "1:alice/lobby/2",
            "1:alice/lobby/3",
            "1:bob/lobby",
            "1:alice",
        ] {
            assert!(!is_revoked(current), "{current}");
        }
        revocations.revoke_membership("alice", "lobby", RevokedGenerations::Before(1));
        assert!(is_revoked("1:alice/lobby/1") && !is_revoked("1:alice/lobby/2"));
        revocations.revoke_membership("alice", "lobby", RevokedGenerations::All);
        revocations.revoke_membership("alice", "lobby", RevokedGenerations::Before(3));
        assert!(is_revoked("1:alice/lobby/99999999999999999999"));
    }
}
