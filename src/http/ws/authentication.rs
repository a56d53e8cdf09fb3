//! Authenticates the request that opens a WebSocket, and asks the application whether the user may
//! connect.

use tracing::Span;

use super::handshake;
use crate::http::Request;
use crate::room::CloseCode;
use crate::service::{self, Admitted, RoomAccess, room_access};

/// Authenticates and admits a user, whom it records in `span`. A bad token outranks every other reason.
pub(super) async fn admit(
    request: &Request,
    room: &str,
    span: &Span,
) -> Result<(Admitted, RoomAccess), CloseCode> {
    let (app, token) = (&request.app, handshake::token(request));
    let access = room_access(app, token.as_deref(), room).await;
    let access = access.map_err(|error| {
        app.metrics.auth.rejected("websocket", error.code());
        service::close_code(error)
    })?;
    request.set_user(&access.caller.user.id);
    span.record("user", &*access.caller.user.id);
    let admitted = service::admit(app, &access, room)?;
    Ok((admitted, access))
}
