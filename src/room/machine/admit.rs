//! The admission of a connection that the roster lists.

use std::sync::Arc;

use super::announcement::Announcement;
use super::events::Arrival;
use super::member::Member;
use super::remote::{Entering, Listed, RemoteMember};
use super::{Effect, Room};
use crate::room::envelope::quoted;
use crate::room::roster::{Place, Request};
use crate::room::rule::{Rule, applies};
use crate::room::server_frame::{Participant, Participants};
use crate::room::{CloseCode, ConnectionId, Departure, Description};

impl Room {
    /// Makes a connection a member: of it and each other member, the older one is notified of the newer one.
    pub(super) fn admit(
        &mut self,
        user: Arc<str>,
        place: Place,
        description: Option<Box<Description>>,
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
                remote.request_leave(user.clone(), connection, Departure::Lost);
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
            return remote.request_leave(user, connection, Departure::Lost);
        }
        let returned = match arrival {
            Arrival::Resumed(returned, _) => Some(returned),
            Arrival::Entered | Arrival::Stated => None,
        };
        let is_resumed = returned.is_some();
        let Entering { mut member, .. } = entering;
        member.resumed = is_resumed;
        let is_extended = member.extended.is_some();
        remote.requests.push(Request::Admitted {
            connection,
            is_resumed,
        });
        if description.is_some_and(|one| one != member.description()) {
            // It changed while the connection waited.
            remote.describe(connection, &member);
        }
        self.notify_older(&member.participant(), &place, arrival, effects);
        // A client that speaks `parlor.v1` begins with a roster.
        if let Some(returned) = returned.filter(|_| !is_extended) {
            self.replay_departures_since(connection, returned, effects);
        }
        self.by_user.insert(user, connection);
        self.extended += usize::from(is_extended);
        self.members.insert(connection, member);
        self.introduce(connection, &place, is_extended, effects);
    }

    /// Notifies a new member of the newer ones. One that speaks `parlor.v1` also gets the older ones.
    fn introduce(
        &self,
        connection: ConnectionId,
        place: &Place,
        is_extended: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &self.remote else { return };
        let here = self.members.iter().map(|(id, member)| {
            let place = remote.place(*id, remote.age_of(&member.user));
            (place, member.quoted.clone(), Ok(member))
        });
        let elsewhere = remote.members.iter();
        let elsewhere = elsewhere.map(|(user, m)| (m.place.clone(), quoted(user), Err((user, m))));
        let concerned = |(other, ..): &(Place, _, _)| is_extended || *place < *other;
        let mut all: Vec<_> = here.chain(elsewhere).filter(concerned).collect();
        all.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        let newer_from = all.partition_point(|(other, ..)| other <= place);
        let (older, newer) = all.split_at(newer_from);
        if is_extended {
            let is_awaited =
                |other: &Other<'_>| matches!(other, Err((_, m)) if m.awaited.is_some());
            let present = older.iter().filter(|(_, _, other)| !is_awaited(other));
            let participants = present.map(|(_, quoted, other)| participant(quoted, other));
            effects.push(Effect::Welcome {
                connection,
                participants: Participants::render(participants),
            });
        }
        for (_, quoted, other) in newer {
            let participant = participant(quoted, other);
            let joined = Announcement::Joined(Some(&participant));
            self.notify_connections(|id, _| id == connection, joined, quoted, effects);
        }
    }

    /// Notifies the members of this node who are older than `place` of its user. A resumed connection is the newest,
    /// and those who know its user are not notified. Members that speak `parlor.v1` and are not notified get the state.
    pub(super) fn notify_older(
        &self,
        participant: &Participant<'_>,
        place: &Place,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &self.remote else { return };
        let knows = |member: &Member| match arrival {
            Arrival::Resumed(returned, unaware) if applies(Rule::ResumedMembersStay) => {
                !returned.newcomers.contains(&member.user) && !unaware.contains(&member.user)
            }
            _ => false,
        };
        let is_older = |id: ConnectionId, member: &Member| {
            let own = remote.place(id, remote.age_of(&member.user));
            !knows(member) && (own < *place || !applies(Rule::OlderIsNotified))
        };
        let joined = Announcement::Joined(Some(participant));
        self.notify_connections(is_older, joined, participant.user, effects);
        // The others know the user, or learn of it by an offer, which says nothing about the participant.
        self.announce_participant(participant, |id, one| !is_older(id, one), effects);
    }
}

/// A member here, or the user and the member elsewhere.
type Other<'a> = Result<&'a Member, (&'a Arc<str>, &'a RemoteMember)>;

fn participant<'a>(quoted: &'a str, other: &Other<'a>) -> Participant<'a> {
    match other {
        Ok(member) => member.participant(),
        Err((user, member)) => member.participant(user, quoted),
    }
}
