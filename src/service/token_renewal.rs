//! Another token for the connection of a `parlor.v1` client, before the current one ends.

use super::admission::{admit, read_access};
use super::app::App;
use super::auth::{AuthError, RoomAccess, check_token, is_foreign_admin, room_access_of};
use super::pending_answer::PendingAnswer;
use crate::room::CloseCode;
use crate::token::Claims;

/// The reason why a token cannot replace that of a connection.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    #[error("the token is of another user")]
    OtherUser,
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// Checks a token that is to replace one with the claims `held`, and reads the user's relation to `room`.
///
/// # Errors
/// The token is not valid or of another user. The relation is for the caller to judge.
pub async fn check_successor(
    app: &App,
    held: &Claims,
    token: &str,
    room: &str,
) -> Result<RoomAccess, TokenRefusal> {
    let checked = check_token(app, &app.settings(), token).await;
    let claims = checked.map_err(AuthError::from)?;
    // Before the store is asked, which may provision an unknown user.
    if claims.sub != held.sub {
        return Err(TokenRefusal::OtherUser);
    }
    Ok(room_access_of(app, without_new_role(held, claims), room).await?)
}

/// The claims of a session's next token: it gives no rights that the session does not have.
fn without_new_role(held: &Claims, mut claims: Claims) -> Claims {
    if is_foreign_admin(&claims) && !is_foreign_admin(held) {
        claims.role = None;
    }
    claims
}

/// Has the connection of a request use the token that `access` was read for, from now on.
///
/// # Errors
/// The user may not be in the room; then the earlier token stays, or the connection is closed.
pub async fn replace_token(
    app: &App,
    access: &RoomAccess,
    room: &str,
    pending: &PendingAnswer,
) -> Result<(), CloseCode> {
    let epoch = app.hub.epoch();
    let admitted = admit(app, access, room)?;
    let user = &admitted.user;
    if pending.replace_token(&admitted) {
        // The role that came with the earlier token is over.
        app.hub.read_roles(room, std::slice::from_ref(user));
    }
    if app.hub.epoch() != epoch {
        // Access has changed meanwhile, possibly for this user. A failure of the store decides nothing.
        let access = read_access(app, user, room, Some(admitted.issue)).await;
        if let Ok(Err(code)) = access {
            app.hub.close(room, user, code);
            return Err(code);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
