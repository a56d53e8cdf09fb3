//! Announcements of the server: each member gets the frame of its protocol.

use bytes::Bytes;

use super::announcement::Announcement;
use super::member::Member;
use super::{Effect, Room, deliver};
use crate::room::ConnectionId;
use crate::room::server_frame::{
    Greeting, Participant, Participants, ResumeNotice, ServerFrame, SessionNotice,
};

impl Room {
    /// Sends an announcement about `user` to the members that match `concerns`.
    pub(super) fn notify(
        &self,
        concerns: impl Fn(&Member) -> bool,
        what: Announcement<'_>,
        user: &str,
        effects: &mut Vec<Effect>,
    ) {
        self.notify_connections(|_, member| concerns(member), what, user, effects);
    }

    /// [`Room::notify`], for connections that match `concerns`.
    pub(super) fn notify_connections(
        &self,
        concerns: impl Fn(ConnectionId, &Member) -> bool,
        what: Announcement<'_>,
        user: &str,
        effects: &mut Vec<Effect>,
    ) {
        if self.members.is_empty() {
            return;
        }
        let plain = self.presence(what.label(), user);
        let extended = if self.extended > 0 {
            self.extended_presence(what, user)
        } else {
            plain.clone()
        };
        let members = self.members.iter();
        let members = members.filter(|(id, member)| concerns(**id, member));
        effects.extend(members.map(|(other, member)| {
            let is_extended = member.extended.is_some();
            let frame = if is_extended { &extended } else { &plain };
            deliver(*other, frame, None)
        }));
    }

    /// Notifies `parlor.v1` members that resumed after a restart of another one that did. A plain client knows it from
    /// before; theirs began with a roster.
    pub(super) fn announce_return(&self, participant: &Participant<'_>, effects: &mut Vec<Effect>) {
        let frame = ServerFrame::ParticipantUpdated(participant).render(&self.id);
        let members = self.members.iter();
        let concerned = members.filter(|(_, one)| one.resumed && one.extended.is_some());
        effects.extend(concerned.map(|(other, _)| deliver(*other, &frame, None)));
    }

    /// The frame of an announcement to plain clients.
    pub(super) fn presence(&self, what: &str, user: &str) -> Bytes {
        let room = &self.id;
        Bytes::from(format!(
            r#"{{"type":"{what}","data":{{"userId":{user}}},"from":{user},"roomId":{room}}}"#
        ))
    }

    fn extended_presence(&self, what: Announcement<'_>, user: &str) -> Bytes {
        match what {
            Announcement::Joined(Some(participant)) => {
                ServerFrame::UserJoined(participant).render(&self.id)
            }
            Announcement::Joined(None) => self.presence(what.label(), user),
            Announcement::Left(reason) => ServerFrame::UserLeft { user, reason }.render(&self.id),
        }
    }

    /// The first frame of a connection that speaks `parlor.v1`; `None` if the room does not have the connection.
    /// `participants` are from [`Effect::Welcome`], or from [`Room::participants`].
    pub fn welcome(
        &self,
        connection: ConnectionId,
        participants: &Participants,
        greeting: &Greeting,
        session: &SessionNotice<'_>,
    ) -> Option<Bytes> {
        let own = self.members.get(&connection)?;
        let welcome = ServerFrame::Welcome {
            user: &own.quoted,
            role: own.role(),
            greeting,
            session,
            participants,
        };
        Some(welcome.render(&self.id))
    }

    /// The participants of a room of one node, in the order in which they joined.
    pub fn participants(&self) -> Participants {
        let mut members: Vec<(&ConnectionId, &Member)> = self.members.iter().collect();
        members.sort_unstable_by_key(|(connection, _)| **connection);
        let participants = members.iter().map(|(_, member)| member.participant());
        Participants::render(participants)
    }

    /// The first frame of a connection that continues a session: `missed` frames follow.
    pub fn resumed(&self, missed: usize, resume: &ResumeNotice<'_>) -> Bytes {
        ServerFrame::Resumed { missed, resume }.render(&self.id)
    }
}
