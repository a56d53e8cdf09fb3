//! The resumption of a session of this node, for its own clients and for those of other nodes.

use std::sync::Arc;

use super::connection::Ending;
use super::renewal::{Extended, IceSource};
use super::requests::Requests;
use crate::http::State;
use crate::service::{Admitted, App, Outbox, Resumption, RoomHandle};
use crate::token::Claims;
use crate::url::Host;

/// The queue of a connection that speaks `parlor.v1`.
pub(super) fn session_outbox(app: &App, admitted: &Admitted) -> Arc<Outbox> {
    let settings = app.settings();
    let outbox = app
        .hub
        .session_outbox(&settings.config.signaling, &admitted.user);
    outbox.set_token_end(admitted.token_end);
    outbox
}

/// Continues a session of this node, whose frames after `seq` go to `outbox`. `None` if it cannot be resumed.
pub(super) fn resume(
    app: &Arc<App>,
    room: &str,
    admitted: &Admitted,
    token: &str,
    seq: u64,
    outbox: &Arc<Outbox>,
) -> Option<RoomHandle> {
    let resumption = Resumption {
        user: &admitted.user,
        issue: admitted.issue,
        token,
        seq,
        within: app.settings().config.signaling.resume_grace,
        role: admitted.profile.role,
        is_token_admin: admitted.is_token_admin,
    };
    app.hub.resume(room, &resumption, outbox)
}

/// The times and requests of a connection that speaks `parlor.v1`.
pub(super) fn extended_ending(
    state: &Arc<State>,
    handle: &RoomHandle,
    user: &str,
    host: Host,
    claims: Claims,
) -> Ending {
    let source = IceSource {
        app: state.app.clone(),
        room: handle.room().clone(),
        user: user.into(),
        host,
    };
    let requests = Requests::new(state, handle.room(), claims);
    Ending::Extended(Box::new(Extended::new(source, requests)))
}
