//! Sessions of a room: their connections come and go.

use std::sync::Arc;
use std::time::Duration;

use super::{Resumption, RoomEntry};
use crate::clock::Now;
use crate::room::{CloseCode, ConnectionId, Rejection, ResumeNotice};
use crate::service::admission::Admitted;
use crate::service::outbox::Outbox;
use crate::service::resume_token::{ResumeToken, random_secret};

impl RoomEntry {
    /// Continues a session on another connection, whose frames go to `outbox`. `None` if there is no such session, or
    /// if frames of it are lost: then it is ended.
    pub(in crate::service) fn resume(
        &mut self,
        resumption: &Resumption<'_>,
        outbox: &Arc<Outbox>,
        now: Now,
    ) -> Option<ConnectionId> {
        let ResumeToken {
            connection, secret, ..
        } = ResumeToken::parse(resumption.token)?;
        let node = self.node_tag();
        let known = self.connections.get_mut(&connection)?;
        if *known.user != *resumption.user || !known.outbox.accepts(&secret) {
            return None;
        }
        // A client that has not confirmed its newer token may be alive there: it comes again.
        let code = if known.outbox.secret() == Some(secret) {
            CloseCode::Replaced
        } else {
            CloseCode::ConnectionError
        };
        let Some(moved) = known.outbox.take_over(resumption.seq, code) else {
            self.room
                .end(connection, CloseCode::Replaced, &mut self.effects);
            self.apply_effects();
            return None;
        };
        known.outbox = outbox.clone();
        known.issue = resumption.issue;
        known.since = now.unix;
        known.is_token_admin = resumption.is_token_admin;
        let next = random_secret();
        let token = ResumeToken {
            connection,
            secret: next,
            node,
        };
        let notice = ResumeNotice {
            token: &token.to_text(),
            within: resumption.within,
        };
        let secrets = (secret, next);
        outbox.adopt(moved, resumption.seq, secrets, |missed| {
            self.room.resumed(missed, &notice)
        });
        self.room.set_back(connection, &mut self.effects);
        self.apply_effects();
        Some(connection)
    }

    /// Whether a living connection of the user has resumed the session of this token, and has confirmed a newer one.
    pub(in crate::service) fn is_replaced(&self, user: &str, token: &str) -> bool {
        let Some(parsed) = ResumeToken::parse(token) else {
            return false;
        };
        let known = self.connections.get(&parsed.connection);
        known.is_some_and(|known| *known.user == *user && known.outbox.is_replaced(&parsed.secret))
    }

    /// Records that a connection with a session is lost. Returns whether the session stays, until `until`.
    pub(in crate::service) fn detach(
        &mut self,
        connection: ConnectionId,
        now: Now,
        within: Duration,
    ) -> bool {
        let known = self.connections.get(&connection);
        let is_kept = known.is_some_and(|known| known.outbox.detach());
        if is_kept {
            self.room.set_away(connection, now.mono, now.mono + within);
        }
        is_kept
    }

    /// Ends the sessions without a connection when they are resumed: frames for them may be lost.
    pub(in crate::service) fn forget_away_frames(&self) {
        let queues = self.connections.values().map(|known| &known.outbox);
        queues
            .filter(|queue| queue.is_away())
            .for_each(|queue| queue.release());
    }

    /// Sends the answer to the request of a connection, which reads on then.
    pub(in crate::service) fn answer(
        &mut self,
        connection: ConnectionId,
        result: Result<(), Rejection<'_>>,
    ) {
        self.room.answer(connection, result, &mut self.effects);
        self.apply_effects();
        if let Some(known) = self.connections.get(&connection) {
            known.outbox.wake();
        }
    }

    /// Records another token of a connection, which decides from now on what ends the connection. Returns whether the
    /// user was an admin by the earlier token alone. The next one makes nobody an admin.
    pub(in crate::service) fn replace_token(
        &mut self,
        connection: ConnectionId,
        admitted: &Admitted,
    ) -> bool {
        let Some(known) = self.connections.get_mut(&connection) else {
            return false;
        };
        known.issue = admitted.issue;
        known.outbox.set_token_end(admitted.token_end);
        let was_admin = known.is_token_admin;
        known.is_token_admin &= admitted.is_token_admin;
        was_admin && !known.is_token_admin
    }

    /// Whether a connection's frames go to this queue.
    pub(in crate::service) fn is_current(
        &self,
        connection: ConnectionId,
        outbox: &Arc<Outbox>,
    ) -> bool {
        let known = self.connections.get(&connection);
        known.is_some_and(|known| Arc::ptr_eq(&known.outbox, outbox))
    }
}
