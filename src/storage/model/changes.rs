//! Changes that other processes commit.

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
