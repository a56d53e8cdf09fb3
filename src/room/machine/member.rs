//! A member of a room on this node.

use std::sync::Arc;

use super::extended_member::Extended;
use crate::clock::Mono;
use crate::room::Description;
use crate::room::error_budget::ErrorBudget;
use crate::room::limits::UsedBudgets;
use crate::room::profile::{Profile, Role};
use crate::room::server_frame::{Participant, State};

/// A connection that is a member of the room.
#[derive(Debug)]
pub(super) struct Member {
    pub user: Arc<str>,
    /// The user's id as JSON.
    pub quoted: String,
    pub used: UsedBudgets,
    pub errors: ErrorBudget,
    /// Whether the connection resumes one from before the restart, and so knows the users of that time.
    pub resumed: bool,
    /// When connections of this user replaced each other, oldest first.
    pub replacements: Vec<Mono>,
    /// `None`: only the id is known.
    pub profile: Option<Box<Profile>>,
    /// `None` for a plain client.
    pub extended: Option<Box<Extended>>,
}

impl Member {
    /// The description for other nodes.
    pub(super) fn description(&self) -> Box<Description> {
        let participant = self.participant();
        Box::new(Description::new(&participant, self.extended.is_some()))
    }

    pub(super) fn role(&self) -> Role {
        let profile = self.profile.as_ref();
        profile.map_or(Role::Member, |profile| profile.role)
    }

    pub(super) fn joined_at(&self) -> u64 {
        let profile = self.profile.as_ref();
        profile.map_or(0, |profile| profile.joined_at)
    }

    pub(super) fn participant(&self) -> Participant<'_> {
        let extended = self.extended.as_ref();
        let away = extended.and_then(|extended| extended.away.as_ref());
        Participant {
            user: &self.quoted,
            display_name: self.display_name(),
            role: self.role(),
            is_connected: !away.is_some_and(|away| away.is_announced),
            joined_at: self.joined_at(),
            state: extended.map_or(State::default(), |extended| extended.state),
        }
    }

    pub(super) fn display_name(&self) -> &str {
        let profile = self.profile.as_ref();
        profile.map_or(&*self.user, |profile| &profile.display_name)
    }

    pub(super) fn rename(&mut self, name: String) {
        let (role, joined_at) = (self.role(), self.joined_at());
        self.profile = Some(Box::new(Profile {
            display_name: name.into(),
            role,
            joined_at,
        }));
    }

    /// Whether the user has a session without a connection.
    pub(super) fn is_away(&self) -> bool {
        let extended = self.extended.as_ref();
        extended.is_some_and(|extended| extended.away.is_some())
    }
}
