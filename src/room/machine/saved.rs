//! Members with sessions, for the next process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Room;
use super::extended_member::{Away, Extended};
use super::member::Member;
use crate::clock::Mono;
use crate::room::envelope::quoted;
use crate::room::error_budget::ErrorBudget;
use crate::room::limits::UsedBudgets;
use crate::room::{ConnectionId, Description};

/// A member that speaks `parlor.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMember {
    pub connection: u64,
    pub user: String,
    /// [`Description::to_text`].
    description: String,
    /// Hashes of the last ids of frames.
    ids: Vec<u64>,
    /// Whether the others know that it has no connection.
    #[serde(default)]
    is_away: bool,
    /// Whether it continued a connection from before an earlier restart, with several nodes.
    #[serde(default)]
    resumed: bool,
}

impl Room {
    /// The members that speak `parlor.v1`.
    pub fn save_sessions(&self) -> Vec<SavedMember> {
        let save = |(connection, member): (&ConnectionId, &Member)| {
            let extended = member.extended.as_ref()?;
            Some(SavedMember {
                connection: connection.number(),
                user: member.user.to_string(),
                description: member.description().to_text(),
                ids: extended.saved_ids(),
                is_away: extended.away.as_ref().is_some_and(|away| away.is_announced),
                resumed: member.resumed,
            })
        };
        self.members.iter().filter_map(save).collect()
    }

    /// Restores a member of the previous process, whose connection is lost. It is gone at `until`. Call
    /// [`Room::expect_return`] with all users before, or [`Room::restore_roster`]. `None` if the member is not valid, or
    /// is there twice.
    pub fn restore(&mut self, saved: &SavedMember, now: Mono, until: Mono) -> Option<ConnectionId> {
        let connection = ConnectionId::new(saved.connection)?;
        let Description { profile, state, .. } = Description::parse(&saved.description)?;
        let user: Arc<str> = Arc::from(&*saved.user);
        if self.by_user.contains_key(&user) || self.members.contains_key(&connection) {
            return None;
        }
        if let Some(before) = &mut self.before {
            before.awaited.remove(&user);
        }
        let mut extended = Extended::default();
        extended.state = state;
        extended.away = Some(Away {
            since: now,
            until,
            is_announced: saved.is_away,
        });
        extended.restore_ids(&saved.ids);
        let member = Member {
            quoted: quoted(&user),
            user: user.clone(),
            used: UsedBudgets::default(),
            errors: ErrorBudget::default(),
            // One node alone: all members from before the restart know each other.
            resumed: saved.resumed || self.remote.is_none(),
            replacements: Vec::new(),
            profile: Some(Box::new(profile)),
            extended: Some(Box::new(extended)),
        };
        self.next = self.next.max(connection.0.saturating_add(1));
        self.extended += 1;
        self.by_user.insert(user, connection);
        self.members.insert(connection, member);
        Some(connection)
    }
}
