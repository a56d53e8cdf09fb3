//! Requests of members that concern the store or the relay: the room hands them out, and sends the answers.
//!
//! A member has one request at a time. It belongs to the session and not to the connection: the answer to a request
//! whose connection was lost reaches the next one, and a repetition of the request meanwhile is not a second request.

use std::time::Duration;

use super::extended_member::PendingRequest;
use super::{Effect, Room, deliver};
use crate::clock::Mono;
use crate::rate::Limit;
use crate::room::client_request::{ClientRequest, Rejection};
use crate::room::server_frame::ServerFrame;
use crate::room::{ConnectionId, DropReason};

/// The statistics of a client, which sends them every two seconds.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
const STATS_BURST: u64 = 3;

impl Room {
    /// Takes the request of a member after [`Outcome::Requested`](super::Outcome::Requested). Until
    /// [`Room::answer`], the caller passes no further input of the connection to the room.
    pub fn take_request(&mut self, connection: ConnectionId) -> Option<ClientRequest> {
        self.extended_of(connection)?
            .request
            .as_mut()?
            .request
            .take()
    }

    /// Whether a member waits for the answer to a request.
    pub fn awaits_answer(&self, connection: ConnectionId) -> bool {
        let member = self.members.get(&connection);
        let extended = member.and_then(|member| member.extended.as_ref());
        extended.is_some_and(|extended| extended.request.is_some())
    }

    /// Sends the answer to the request of a member: an `ack` if it has an `id`, or an `error`.
    pub fn answer(
        &mut self,
        connection: ConnectionId,
        result: Result<(), Rejection<'_>>,
        effects: &mut Vec<Effect>,
    ) {
        let extended = self.extended_of(connection);
        let Some(pending) = extended.and_then(|one| one.request.take()) else {
            return;
        };
        let id = pending.id.as_deref();
        match (result, id) {
            (Ok(()), None) => {}
            (Ok(()), Some(id)) => {
                self.remember(connection, id);
                self.acknowledge(connection, id, effects);
            }
            (Err(Rejection { code, message }), id) => {
                let frame = ServerFrame::Error { id, code, message }.render(&self.id);
                effects.push(deliver(connection, &frame, None));
            }
        }
    }

    /// Records the request of a member.
    pub(super) fn begin_request(
        &mut self,
        connection: ConnectionId,
        id: Option<&str>,
        request: ClientRequest,
        now: Mono,
    ) -> Result<(), DropReason> {
        let Some(extended) = self.extended_of(connection) else {
            return Ok(());
        };
        if matches!(request, ClientRequest::Stats(_)) {
            let limit = Limit::every(STATS_INTERVAL, STATS_BURST);
            if !extended.stats.take(limit, now, 1) {
                return Err(DropReason::RateLimited);
            }
        }
        if extended.request.is_some() {
            return Err(DropReason::RateLimited);
        }
        extended.request = Some(Box::new(PendingRequest {
            id: id.map(Box::from),
            request: Some(request),
        }));
        Ok(())
    }

    /// Whether the request with this `id` is being carried out.
    pub(super) fn is_awaited(&self, connection: ConnectionId, id: &str) -> bool {
        let member = self.members.get(&connection);
        let extended = member.and_then(|member| member.extended.as_ref());
        let pending = extended.and_then(|extended| extended.request.as_ref());
        pending.is_some_and(|pending| pending.id.as_deref() == Some(id))
    }
}

#[cfg(test)]
mod tests;
