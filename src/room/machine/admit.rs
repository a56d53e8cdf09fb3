//! The admission of a connection that the roster lists.

use std::sync::Arc;

use super::events::Arrival;
use super::remote::Listed;
use super::{Effect, Member, Room, deliver};
use crate::room::envelope::quoted;
use crate::room::error_budget::ErrorBudget;
use crate::room::roster::{Place, Request};
use crate::room::rule::{Rule, applies};
use crate::room::{CloseCode, ConnectionId};

impl Room {
    /// Makes a connection a member: of it and each other member, the older one is notified of the newer one.
    pub(super) fn admit(
        &mut self,
        user: Arc<str>,
        place: Place,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Place {
            connection, age, ..
        } = place;
        self.end_earlier(&user, Some(&place), effects);
        let Some(remote) = &mut self.remote else {
            return;
        };
        remote
            .listed
            .insert(user.clone(), Listed { connection, age });
        if self.members.contains_key(&connection) {
            return;
        }
        let Some(entering) = remote.entering.remove(&connection) else {
            // It ended before, or the departure did not reach the roster.
            if applies(Rule::UnknownEntriesEnd) {
                remote.request_leave(user.clone(), connection);
            }
            if let Arrival::Resumed(returned, unaware) = arrival {
                self.notify_vain_return(&user, returned, unaware, effects);
            }
            return;
        };
        if entering.resume && matches!(arrival, Arrival::Stated) {
            // Whether it was resumed, and who left meanwhile, is lost.
            let code = CloseCode::ConnectionError;
            effects.push(Effect::Close { connection, code });
            return remote.request_leave(user, connection);
        }
        let returned = match arrival {
            Arrival::Resumed(returned, _) => Some(returned),
            Arrival::Entered | Arrival::Stated => None,
        };
        let is_resumed = returned.is_some();
        let member = Member {
            quoted: quoted(&user),
            user: user.clone(),
            used: entering.used,
            errors: ErrorBudget::default(),
            resumed: is_resumed,
            replacements: Vec::new(),
            profile: None,
            extended: None,
        };
        remote.requests.push(Request::Admitted {
            connection,
            is_resumed,
        });
        self.notify_older(&user, &place, arrival, effects);
        if let Some(returned) = returned {
            self.replay_departures_since(connection, returned, effects);
        }
        let Some(remote) = &self.remote else { return };
        let elsewhere = remote
            .members
            .iter()
            .map(|(user, m)| (user, m.place.clone()));
        let here = self.members.iter().map(|(id, other)| {
            let age = remote.age_of(&other.user);
            (&other.user, remote.place(*id, age))
        });
        let newer = here.chain(elsewhere).filter(|(_, other)| place < *other);
        for (other, _) in newer {
            let frame = self.presence("user-joined", &quoted(other));
            effects.push(deliver(connection, &frame, None));
        }
        self.by_user.insert(user, connection);
        self.members.insert(connection, member);
    }

    /// Notifies the members of this node who are older than `place` of its user. A resumed connection is the newest,
    /// and those who know its user are not notified.
    pub(super) fn notify_older(
        &self,
        user: &str,
        place: &Place,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &self.remote else { return };
        let frame = self.presence("user-joined", &quoted(user));
        let is_older = |(id, member): &(&ConnectionId, &Member)| {
            let own = remote.place(**id, remote.age_of(&member.user));
            let is_newcomer = match arrival {
                Arrival::Resumed(returned, unaware) if applies(Rule::ResumedMembersStay) => {
                    returned.newcomers.contains(&member.user) || unaware.contains(&member.user)
                }
                _ => true,
            };
            is_newcomer && (own < *place || !applies(Rule::OlderIsNotified))
        };
        let older = self.members.iter().filter(is_older);
        effects.extend(older.map(|(id, _)| deliver(*id, &frame, None)));
    }
}
