//! From a token to a user that the store knows, or the reason why not.

use super::app::App;
use crate::clock;
use crate::storage::{CreateError, Removal, Room, StoreError, User};
use crate::token::{Claims, TokenError};

/// Somebody whose token is good and whom the store lets in.
#[derive(Debug, Clone)]
pub struct Caller {
    pub claims: Claims,
    pub user: User,
}

/// A caller at the door of a room.
#[derive(Debug, Clone)]
pub struct RoomAccess {
    pub caller: Caller,
    /// `None` where there is no such room. It may be closed.
    pub room: Option<Room>,
    /// Has joined the room and not left it.
    pub participant: bool,
    /// The user is or was a member of the room.
    pub ever_member: bool,
    /// The user was kicked or banned, and the room still rejects them.
    pub removal: Option<Removal>,
}

/// Why somebody is not believed to be anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("there is no token")]
    NoToken,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the token's user is not known here, and `auth.provision_users` is off")]
    Unknown,
    #[error("the token's user was deleted")]
    Deleted,
    #[error("the token is from before the user's tokens were ended")]
    SignedOut,
    #[error("the guest's time has run out")]
    GuestExpired,
    #[error("the user is disabled")]
    Disabled,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuthError {
    /// One word for each, for figures.
    pub fn code(&self) -> &'static str {
        match self {
            AuthError::NoToken => "no-token",
            AuthError::Token(error) => error.code(),
            AuthError::Unknown => "unknown-user",
            AuthError::Deleted => "deleted-user",
            AuthError::SignedOut => "signed-out",
            AuthError::GuestExpired => "guest-expired",
            AuthError::Disabled => "disabled-user",
            AuthError::Store(_) => "store",
        }
    }
}

/// Who the token says one is, and how things stand with `room`: one read of the store.
pub async fn room_access(
    app: &App,
    token: Option<&str>,
    room: &str,
) -> Result<RoomAccess, AuthError> {
    let unix = clock::now().unix;
    // Once: what a key vouches for is what the same settings say of it.
    let settings = app.settings();
    let auth = &settings.config.auth;
    let claims = settings
        .tokens
        .check(token.ok_or(AuthError::NoToken)?, unix)?;
    let admission = app.store.admission(room, &claims.sub, unix).await?;
    let (mut user, room) = match admission.user {
        Some(user) => (user, admission.room),
        None if auth.provision_users => (provision(app, &claims).await?, admission.room),
        None => return Err(AuthError::Unknown),
    };
    user.admin |= auth.trust_roles && is_foreign_admin(&claims);
    if user.deleted {
        return Err(AuthError::Deleted);
    }
    if user.disabled {
        return Err(AuthError::Disabled);
    }
    if !user.token_cutoff.accepts(claims.issue()) {
        return Err(AuthError::SignedOut);
    }
    if !user.is_active(unix) {
        return Err(AuthError::GuestExpired);
    }
    Ok(RoomAccess {
        caller: Caller { claims, user },
        room,
        participant: admission.participant,
        ever_member: admission.ever_member,
        removal: admission.removal,
    })
}

/// What parlor's own tokens say of roles is only a copy of what the store said then.
fn is_foreign_admin(claims: &Claims) -> bool {
    !claims.own && claims.role.as_deref() == Some("admin")
}

async fn provision(app: &App, claims: &Claims) -> Result<User, AuthError> {
    let made = app.store.provision(&claims.sub, claims.name.as_deref());
    made.await.map_err(|error| match error {
        CreateError::Store(fault) => AuthError::Store(fault),
        CreateError::Deleted(_) => AuthError::Deleted,
        _ => AuthError::Unknown,
    })
}
