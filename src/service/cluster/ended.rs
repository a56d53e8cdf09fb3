//! Numbers of connections and relays that changes of other nodes ended here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::Notify;

use super::protocol::Revocation;
use crate::credential::{Revocations, RevokedGenerations, Subjects};

/// Changes whose numbers are kept until the node that committed them asks; the oldest are dropped.
const MAX_CHANGES: usize = 1024;

/// The changes of other nodes that took effect here.
#[derive(Default)]
pub(in crate::service) struct EndedChanges {
    changes: Mutex<VecDeque<EndedChange>>,
    /// Changes of other nodes took effect.
    pub(in crate::service) applied: Notify,
}

struct EndedChange {
    revocation: Revocation,
    connections: usize,
    relays: BoxFuture<'static, usize>,
}

impl EndedChanges {
    /// Records the effect of a change. The relay may still have to free allocations.
    pub(in crate::service) fn record(
        &self,
        revocation: Revocation,
        connections: usize,
        relays: BoxFuture<'static, usize>,
    ) {
        let mut changes = self.changes();
        if changes.len() >= MAX_CHANGES {
            changes.pop_front();
        }
        changes.push_back(EndedChange {
            revocation,
            connections,
            relays,
        });
    }

    /// Removes the records of a change, and returns its numbers of connections and relays. Waits for the relay.
    pub(super) async fn take(&self, revocation: &Revocation) -> (usize, usize) {
        let mut taken = Vec::new();
        self.changes().retain_mut(|change| {
            if !revocation.includes(&change.revocation) {
                return true;
            }
            let relays = std::mem::replace(&mut change.relays, Box::pin(async { 0 }));
            taken.push((change.connections, relays));
            false
        });
        let connections = taken.iter().map(|(connections, _)| connections).sum();
        let relays = join_all(taken.into_iter().map(|(_, relays)| relays)).await;
        (connections, relays.into_iter().sum())
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<EndedChange>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Revocation {
    /// Whether `other` is this change, or a later one of the same subject.
    fn includes(&self, other: &Revocation) -> bool {
        match (self, other) {
            (
                Revocation::User { user, generation },
                Revocation::User {
                    user: other_user,
                    generation: other_generation,
                },
            ) => user == other_user && generation <= other_generation,
            (
                Revocation::Membership {
                    user,
                    room,
                    next_generation,
                },
                Revocation::Membership {
                    user: other_user,
                    room: other_room,
                    next_generation: other_generation,
                },
            ) => (user, room) == (other_user, other_room) && next_generation <= other_generation,
            _ => self == other,
        }
    }

    /// Whether this change has taken effect, as the list of revocations shows.
    pub(super) fn is_applied(&self, revocations: &Revocations) -> bool {
        let known = revocations.part(&self.subjects());
        let is_covered = |user: &str, room: &str, generations: RevokedGenerations| {
            let known = known.memberships.get(&(user.into(), room.into()));
            !generations.is_more_than(known.copied())
        };
        match self {
            Revocation::User { user, generation } => {
                let known_generation = known.generations.get(&**user);
                known.users.contains(&**user) || known_generation.is_some_and(|g| g >= generation)
            }
            Revocation::Membership {
                user,
                room,
                next_generation,
            } => is_covered(user, room, RevokedGenerations::ended(*next_generation)),
            Revocation::Ban { user, room } => is_covered(user, room, RevokedGenerations::All),
            Revocation::Room { room } => known.rooms.contains(&**room),
        }
    }

    fn subjects(&self) -> Subjects {
        let mut subjects = Subjects::default();
        match self {
            Revocation::User { user, .. } => subjects.insert(Some(user), None),
            Revocation::Membership { user, room, .. } | Revocation::Ban { user, room } => {
                subjects.insert(Some(user), Some(room));
            }
            Revocation::Room { room } => subjects.insert(None, Some(room)),
        }
        subjects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::RevokedSet;

    fn membership(room: &str, next_generation: u64) -> Revocation {
        Revocation::Membership {
            user: "alice".to_owned(),
            room: room.to_owned(),
            next_generation,
        }
    }

    fn user(generation: u64) -> Revocation {
        let user = "alice".to_owned();
        Revocation::User { user, generation }
    }

    fn relays(count: usize) -> BoxFuture<'static, usize> {
        Box::pin(async move { count })
    }

    #[tokio::test]
    async fn each_end_counts_once_and_for_its_change_alone() {
        let changes = EndedChanges::default();
        changes.record(user(1), 1, relays(2));
        changes.record(user(2), 4, relays(8));
        changes.record(membership("lobby", 1), 16, relays(32));
        changes.record(membership("attic", 1), 64, relays(128));
        assert_eq!(changes.take(&user(2)).await, (4, 8));
        assert_eq!(changes.take(&membership("lobby", 2)).await, (0, 0));
        assert_eq!(changes.take(&membership("lobby", 1)).await, (16, 32));
        assert_eq!(changes.take(&membership("lobby", 1)).await, (0, 0));
        assert_eq!(changes.take(&user(0)).await, (1, 2));
    }

    #[tokio::test]
    async fn the_oldest_of_too_many_changes_are_dropped() {
        let changes = EndedChanges::default();
        for number in 0..=MAX_CHANGES as u64 {
            changes.record(membership(&number.to_string(), 1), 1, relays(0));
        }
        assert_eq!(changes.take(&membership("0", 1)).await, (0, 0));
        assert_eq!(changes.take(&membership("1", 1)).await, (1, 0));
    }

    #[test]
    fn a_change_has_taken_effect_when_its_subject_is_revoked() {
        let revocations = Revocations::default();
        let ban = Revocation::Ban {
            user: "alice".to_owned(),
            room: "lobby".to_owned(),
        };
        let room = Revocation::Room {
            room: "lobby".to_owned(),
        };
        let all = [user(2), membership("lobby", 2), ban.clone(), room];
        assert!(all.iter().all(|one| !one.is_applied(&revocations)));
        revocations.end_tokens("alice", 1);
        revocations.revoke_membership("alice", "lobby", RevokedGenerations::Before(1));
        assert!(all.iter().all(|one| !one.is_applied(&revocations)));
        revocations.end_tokens("alice", 2);
        revocations.revoke_membership("alice", "lobby", RevokedGenerations::Before(2));
        revocations.revoke_room("lobby");
        let applied = all.each_ref().map(|one| one.is_applied(&revocations));
        assert_eq!(applied, [true, true, false, true]);
        revocations.revoke_membership("alice", "lobby", RevokedGenerations::All);
        assert!(ban.is_applied(&revocations));
        revocations.replace(RevokedSet::default());
        revocations.revoke_user("alice");
        assert!(user(9).is_applied(&revocations));
    }
}
