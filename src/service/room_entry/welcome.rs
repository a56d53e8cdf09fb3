//! The first frame of a new session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::room::{ConnectionId, Greeting, Participants, ResumeNotice, Room, SessionNotice};
use crate::service::outbox::Outbox;
use crate::service::resume_token::{ResumeToken, random_secret};

/// The parts of the first frame of a new session.
pub(super) struct Welcome<'a> {
    pub room: &'a Room,
    pub participants: &'a Participants,
    pub greeting: &'a Greeting,
    /// [`node_tag`](crate::service::resume_token::node_tag) of this node, if there are several.
    pub node: Option<u64>,
}

impl Welcome<'_> {
    /// Sends the frame.
    pub(super) fn send(&self, connection: ConnectionId, outbox: &Outbox) {
        let Some(secret) = outbox.secret() else {
            return;
        };
        let token = ResumeToken {
            connection,
            secret,
            node: self.node,
        };
        let id = URL_SAFE_NO_PAD.encode(random_secret());
        let session = SessionNotice {
            id: &id,
            resume: ResumeNotice {
                token: &token.to_text(),
                within: self.greeting.within,
            },
        };
        let (room, greeting) = (self.room, self.greeting);
        let welcome = room.welcome(connection, self.participants, greeting, &session);
        if let Some(welcome) = welcome {
            outbox.push_first(welcome);
        }
    }
}
