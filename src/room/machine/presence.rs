//! The state of members that speak `parlor.v1`: whether they are there, muted, and under which name.

use std::sync::Arc;
use std::time::Duration;

use super::extended_member::{AWAY_NOTICE, Away, Extended};
use super::member::Member;
use super::{Effect, Room, deliver};
use crate::clock::Mono;
use crate::display_name::{MAX_CHARS, is_valid_name, sanitize};
use crate::rate::Limit;
use crate::room::client_frame::Update;
use crate::room::envelope::quoted;
use crate::room::profile::{Protocol, Role};
use crate::room::server_frame::{Participant, ServerFrame};
use crate::room::{CloseCode, ConnectionId, Departure, Description, DropReason};

/// The interval of changes of a member's state, and the burst.
const UPDATE_INTERVAL: Duration = Duration::from_millis(200);
const UPDATE_BURST: u64 = 20;
/// The interval of changes of a member's name, and the burst.
const NAME_INTERVAL: Duration = Duration::from_secs(10);
const NAME_BURST: u64 = 3;

impl Room {
    /// The members that speak `parlor.v1` and have a connection.
    pub fn connected_sessions(&self) -> Vec<ConnectionId> {
        let is_connected = |member: &Member| {
            let extended = member.extended.as_ref();
            extended.is_some_and(|extended| extended.away.is_none())
        };
        let members = self.members.iter();
        let connected = members.filter(|(_, member)| is_connected(member));
        connected.map(|(connection, _)| *connection).collect()
    }

    /// Records that a member that speaks `parlor.v1` has lost its connection. It stays a member, and is gone at `until`.
    pub fn set_away(&mut self, connection: ConnectionId, now: Mono, until: Mono) {
        if let Some(extended) = self.extended_of(connection) {
            extended.away = Some(Away {
                since: now,
                until,
                is_announced: false,
            });
        }
    }

    /// Records that a member has a connection again.
    pub fn set_back(&mut self, connection: ConnectionId, effects: &mut Vec<Effect>) {
        let away = self.extended_of(connection).and_then(|one| one.away.take());
        if away.is_some_and(|away| away.is_announced) {
            self.announce_update(connection, false, effects);
        }
    }

    /// Announces members without a connection, and removes those that were away for too long.
    pub fn expire_away(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        let away = |(id, member): (&ConnectionId, &Member)| {
            let away = member.extended.as_ref()?.away.as_ref()?;
            Some((
                *id,
                away.until <= now,
                !away.is_announced && away.since + AWAY_NOTICE <= now,
            ))
        };
        let mut all: Vec<_> = self.members.iter().filter_map(away).collect();
        all.sort_unstable();
        for (connection, is_over, is_due) in all {
            if is_over {
                let code = CloseCode::ConnectionError;
                effects.push(Effect::Close { connection, code });
                self.leave_for(Departure::Lost, connection, effects);
            } else if is_due {
                let away = self
                    .extended_of(connection)
                    .and_then(|one| one.away.as_mut());
                if let Some(away) = away {
                    away.is_announced = true;
                }
                self.announce_update(connection, false, effects);
            }
        }
    }

    /// Changes the state of a member.
    pub(super) fn update(
        &mut self,
        connection: ConnectionId,
        update: Update,
        now: Mono,
        effects: &mut Vec<Effect>,
    ) -> Result<(), DropReason> {
        let name = update.display_name.as_deref();
        if name.is_some_and(|name| !is_valid_name(name)) {
            return Err(DropReason::BadName);
        }
        let Some(extended) = self.extended_of(connection) else {
            return Ok(());
        };
        let updates = Limit::every(UPDATE_INTERVAL, UPDATE_BURST);
        let names = Limit::every(NAME_INTERVAL, NAME_BURST);
        let is_within = extended.updates.take(updates, now, 1)
            && (name.is_none() || extended.names.take(names, now, 1));
        if !is_within {
            return Err(DropReason::RateLimited);
        }
        // After the limits: it compares the names of all members.
        let name = name.map(|name| self.unique_name(connection, name));
        let Some(member) = self.members.get_mut(&connection) else {
            return Ok(());
        };
        let Some(extended) = &mut member.extended else {
            return Ok(());
        };
        let before = extended.state;
        extended.state.muted = update.muted.unwrap_or(before.muted);
        extended.state.hand_raised = update.hand_raised.unwrap_or(before.hand_raised);
        if update.muted == Some(false) {
            extended.state.muted_by_moderator = false;
        }
        let mut is_changed = extended.state != before;
        if let Some(name) = name
            && name != member.display_name()
        {
            is_changed = true;
            member.rename(name);
        }
        if is_changed {
            self.announce_update(connection, true, effects);
        }
        Ok(())
    }

    /// Asks the client of a member of this node to mute; false if there is none that speaks `parlor.v1`. `by` is the
    /// moderator's id; `None`: an admin at the command line.
    pub fn mute(&mut self, user: &str, by: Option<&str>, effects: &mut Vec<Effect>) -> bool {
        let Some(&connection) = self.by_user.get(user) else {
            return false;
        };
        let Some(extended) = self.extended_of(connection) else {
            return false;
        };
        let is_changed = !std::mem::replace(&mut extended.state.muted_by_moderator, true);
        let by = by.map(quoted);
        let frame = ServerFrame::Mute { by: by.as_deref() }.render(&self.id);
        effects.push(deliver(connection, &frame, None));
        if is_changed {
            self.announce_update(connection, true, effects);
        }
        true
    }

    /// The protocol of a member's client, on any node; `None` if the user is not connected.
    pub fn protocol_of(&self, user: &str) -> Option<Protocol> {
        let is_extended = match self.by_user.get(user) {
            Some(connection) => self.members.get(connection)?.extended.is_some(),
            None => {
                let member = self.remote.as_ref()?.members.get(user)?;
                let description = member.description.as_ref();
                description.is_some_and(|description| description.is_extended)
            }
        };
        Some(if is_extended {
            Protocol::Extended
        } else {
            Protocol::Plain
        })
    }

    /// The role of a user, as the room shows it; `None` if the user is not connected here.
    pub fn role(&self, user: &str) -> Option<Role> {
        let connection = self.by_user.get(user)?;
        self.members
            .get(connection)?
            .profile
            .as_ref()
            .map(|profile| profile.role)
    }

    /// Records the role of a user, if the user is connected.
    pub fn set_role(&mut self, user: &str, role: Role, effects: &mut Vec<Effect>) {
        let Some(&connection) = self.by_user.get(user) else {
            return self.set_role_of_entering(user, role);
        };
        let member = self.members.get_mut(&connection);
        let profile = member.and_then(|member| member.profile.as_mut());
        if let Some(profile) = profile
            && profile.role != role
        {
            profile.role = role;
            self.announce_update(connection, true, effects);
        }
    }

    /// Sends the state of a member to those that speak `parlor.v1`.
    fn announce_update(
        &mut self,
        connection: ConnectionId,
        includes_own: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get(&connection) else {
            return;
        };
        let concerns = |id: ConnectionId, _: &Member| includes_own || id != connection;
        self.announce_participant(&member.participant(), concerns, effects);
        if let Some(remote) = &mut self.remote {
            remote.describe(connection, member);
        }
    }

    /// Sends the state of a participant to those who speak `parlor.v1` and match `concerns`.
    pub(super) fn announce_participant(
        &self,
        participant: &Participant<'_>,
        concerns: impl Fn(ConnectionId, &Member) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        if self.extended == 0 {
            return;
        }
        let frame = ServerFrame::ParticipantUpdated(participant).render(&self.id);
        let members = self.members.iter();
        let concerned =
            members.filter(|(id, member)| member.extended.is_some() && concerns(**id, member));
        effects.extend(concerned.map(|(id, _)| deliver(*id, &frame, None)));
    }

    /// Changes the description of a member on another node.
    pub(super) fn describe_remote(
        &mut self,
        user: &Arc<str>,
        description: Option<Box<Description>>,
        effects: &mut Vec<Effect>,
    ) {
        let remote = self.remote.as_mut();
        let Some(member) = remote.and_then(|one| one.members.get_mut(user)) else {
            return;
        };
        if description.is_none() || member.description == description {
            return;
        }
        member.description = description;
        if let Some(member) = self.remote.as_ref().and_then(|one| one.members.get(user)) {
            let quoted = quoted(user);
            self.announce_participant(&member.participant(user, &quoted), |_, _| true, effects);
        }
    }

    /// The name, with a mark if another member has it.
    fn unique_name(&self, connection: ConnectionId, name: &str) -> String {
        let others = self.members.iter().filter(|(id, _)| **id != connection);
        let elsewhere = self.remote.iter().flat_map(|remote| &remote.members);
        let elsewhere = elsewhere.map(|(user, other)| other.display_name(user));
        let worn: Vec<String> = others
            .map(|(_, other)| other.display_name())
            .chain(elsewhere)
            .map(folded)
            .collect();
        let marked = |number: u32| {
            let mark = format!(" ({number})");
            let kept = MAX_CHARS - mark.chars().count();
            let kept: String = name.chars().take(kept).collect();
            // A cut may leave half of a character of several code points.
            format!("{}{mark}", sanitize(&kept).unwrap_or_default())
        };
        let mut candidates = std::iter::once(name.to_owned()).chain((2..).map(marked));
        let free = candidates.find(|name| !worn.contains(&folded(name)));
        free.unwrap_or_default()
    }

    pub(super) fn extended_of(&mut self, connection: ConnectionId) -> Option<&mut Extended> {
        self.members.get_mut(&connection)?.extended.as_deref_mut()
    }
}

/// A name as readers see it: without the difference of letters' case, and of spaces.
fn folded(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    words.join(" ").to_lowercase()
}
