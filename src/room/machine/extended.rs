//! Frames of the members that speak `parlor.v1`, and frames of other members to them.

use super::{Effect, Input, Outcome, Room, deliver};
use crate::clock::Mono;
use crate::room::client_frame::{ClientFrame, Parsed};
use crate::room::envelope::Envelope;
use crate::room::reserved::without_reserved_keys;
use crate::room::server_frame::ServerFrame;
use crate::room::{ConnectionId, DropReason, Kind};

impl Room {
    /// Handles an input of a member that speaks `parlor.v1`: it gets an `ack` or an `error`.
    pub(super) fn receive_extended(
        &mut self,
        connection: ConnectionId,
        input: Input<'_>,
        now: Mono,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let Parsed { id, frame } = match input {
            Input::Control => return Outcome::Control,
            Input::Binary => Parsed::bad(DropReason::Binary),
            Input::Text(text) => ClientFrame::parse(text),
        };
        if let Some(id) = &id
            && self.is_repeated(connection, id)
        {
            self.acknowledge(connection, id, effects);
            return Outcome::Repeated;
        }
        if let Some(id) = &id
            && self.is_awaited(connection, id)
        {
            return Outcome::Repeated;
        }
        let judged = match frame {
            Ok(ClientFrame::Relayed(envelope)) => {
                let routed = self.route(connection, &envelope, effects);
                routed.map(|(kind, copies)| Outcome::Relayed { kind, copies })
            }
            Ok(ClientFrame::Seen(seq)) => Ok(Outcome::Acknowledged(seq)),
            Ok(ClientFrame::Update(update)) => {
                let updated = self.update(connection, update, now, effects);
                updated.map(|()| Outcome::Handled)
            }
            Ok(ClientFrame::Request(request)) => {
                let begun = self.begin_request(connection, id.as_deref(), request, now);
                begun.map(|()| Outcome::Requested)
            }
            Err(reason) => Err(reason),
        };
        match (judged, id.as_deref()) {
            // The answer follows.
            (Ok(Outcome::Requested), _) => {}
            (Ok(_), Some(id)) => {
                self.remember(connection, id);
                self.acknowledge(connection, id, effects);
            }
            (Ok(_), None) => {}
            (Err(reason), id) => self.reject(connection, id, reason, effects),
        }
        self.record(connection, judged, effects)
    }

    fn is_repeated(&self, connection: ConnectionId, id: &str) -> bool {
        let member = self.members.get(&connection);
        let extended = member.and_then(|member| member.extended.as_ref());
        extended.is_some_and(|extended| extended.is_repeated(id))
    }

    pub(super) fn remember(&mut self, connection: ConnectionId, id: &str) {
        if let Some(extended) = self.extended_of(connection) {
            extended.remember(id);
        }
    }

    pub(super) fn acknowledge(
        &self,
        connection: ConnectionId,
        id: &str,
        effects: &mut Vec<Effect>,
    ) {
        let frame = ServerFrame::Ack { id }.render(&self.id);
        effects.push(deliver(connection, &frame, None));
    }

    fn reject(
        &self,
        connection: ConnectionId,
        id: Option<&str>,
        reason: DropReason,
        effects: &mut Vec<Effect>,
    ) {
        let (code, message) = reason.error();
        let frame = ServerFrame::Error { id, code, message }.render(&self.id);
        effects.push(deliver(connection, &frame, None));
    }

    /// Delivers a message in a room with members that speak `parlor.v1`. Plain clients get none of
    /// [`Kind::Message`].
    pub(super) fn route_extended(
        &mut self,
        sender: ConnectionId,
        envelope: &Envelope<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(Kind, usize), DropReason> {
        let Some(member) = self.members.get(&sender) else {
            return Ok((envelope.kind, 0));
        };
        let (before, user) = (effects.len(), member.user.clone());
        let is_message = envelope.kind == Kind::Message;
        let plain = envelope.rewrite(&member.quoted, &self.id);
        let extended = without_reserved_keys(envelope.text(), &plain, envelope.kind);
        let targets: Vec<ConnectionId> = match &envelope.to {
            Some(user) => match self.by_user.get(&**user) {
                Some(target) => vec![*target],
                None => return self.relay_to_node(sender, user, envelope),
            },
            None => {
                let others = self.members.keys().filter(|other| **other != sender);
                others.copied().collect()
            }
        };
        for target in targets {
            match self.members.get(&target).map(|member| &member.extended) {
                Some(Some(_)) => effects.push(deliver(target, &extended, Some(sender))),
                Some(None) if !is_message => effects.push(deliver(target, &plain, Some(sender))),
                Some(None) if envelope.to.is_some() => return Err(DropReason::PlainTarget),
                Some(None) | None => {}
            }
        }
        let copies = effects.len() - before;
        if let (Some(remote), None) = (&mut self.remote, &envelope.to) {
            let elsewhere = remote.send_to_all(&user, sender, &plain, is_message);
            return Ok((envelope.kind, copies + elsewhere));
        }
        Ok((envelope.kind, copies))
    }
}
