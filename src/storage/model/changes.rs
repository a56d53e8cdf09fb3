//! Changes that other processes commit.

use std::collections::HashSet;

use crate::credential::Subjects;

/// Maximum number of subjects that are listed one by one.
const MAX_SUBJECTS: usize = 1000;

/// The rows that other processes may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Any row.
    Everything,
    /// Rows of these users, rooms and memberships.
    Of(Subjects),
}

/// Changes of chats. They take access from nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatChanges {
    /// Rooms with new messages.
    pub rooms: HashSet<Box<str>>,
    /// Rooms and the ids of messages that were deleted from them. Each of them took a write of the store.
    pub deleted: Vec<(Box<str>, i64)>,
}

impl ChatChanges {
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.deleted.is_empty()
    }

    pub fn add(&mut self, other: ChatChanges) {
        self.rooms.extend(other.rooms);
        self.deleted.extend(other.deleted);
    }
}

impl Default for Changes {
    /// No change.
    fn default() -> Changes {
        Changes::Of(Subjects::default())
    }
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        matches!(self, Changes::Of(subjects) if subjects.is_empty())
    }

    /// Adds other changes. More subjects than can be listed become everything.
    pub fn add(&mut self, other: Changes) {
        match (&mut *self, other) {
            (Changes::Of(subjects), Changes::Of(other)) => {
                subjects.extend(other);
                if subjects.len() > MAX_SUBJECTS {
                    *self = Changes::Everything;
                }
            }
            _ => *self = Changes::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(numbers: std::ops::Range<usize>) -> Changes {
        let users = numbers.map(|number| number.to_string().into());
        Changes::Of(Subjects {
            users: users.collect(),
            ..Subjects::default()
        })
    }

    #[test]
    fn too_many_subjects_become_everything() {
        let mut changes = Changes::default();
        assert!(changes.is_empty());
        changes.add(users(0..600));
        changes.add(users(500..1000));
        assert_eq!(changes, users(0..1000));
        changes.add(users(1000..1001));
        assert_eq!(changes, Changes::Everything);
        changes.add(users(0..1));
        assert_eq!(changes, Changes::Everything);
    }
}
