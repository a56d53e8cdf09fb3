//! Authenticates a token, and reads the user's relation to a room.

use super::app::App;
use super::settings::Settings;
use crate::clock;
use crate::storage::{CreateError, Removal, Room, StoreError, User};
use crate::token::{Claims, TokenError};

/// A user with a valid token and an active account.
#[derive(Debug, Clone)]
pub struct Caller {
    pub claims: Claims,
    pub user: User,
    /// Whether the token makes its bearer an admin. Then `user` is one as well; the store may have another opinion.
    pub is_token_admin: bool,
}

impl Caller {
    /// Whether the caller manages the room: as its owner or as an admin.
    pub fn manages(&self, room: &Room) -> bool {
        self.user.admin || room.owner_id.as_ref() == Some(&self.user.id)
    }
}

/// A caller's relation to a room.
#[derive(Debug, Clone)]
pub struct RoomAccess {
    pub caller: Caller,
    /// `None` if the room does not exist. It may be closed.
    pub room: Option<Room>,
    /// The user has joined the room and not left it.
    pub participant: bool,
    /// The user is or was a member of the room.
    pub ever_member: bool,
    /// The owner has named the user a moderator.
    pub moderator: bool,
    /// The number of memberships of the user in the room that have ended.
    pub generation: u64,
    /// The user was kicked or banned, and the room still rejects them.
    pub removal: Option<Removal>,
}

/// The reason why a token is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("there is no token")]
    NoToken,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the token's user does not exist, and `auth.provision_users` is off")]
    Unknown,
    #[error("the token's user was deleted")]
    Deleted,
    #[error("the token was issued before the user signed out")]
    SignedOut,
    #[error("the guest's time has run out")]
    GuestExpired,
    #[error("the user is disabled")]
    Disabled,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuthError {
    /// The value of the label `reason` in the metrics.
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

/// Authenticates `token`, and reads the user's relation to `room` in the same store request.
pub async fn room_access(
    app: &App,
    token: Option<&str>,
    room: &str,
) -> Result<RoomAccess, AuthError> {
    let unix = clock::now().unix;
    // Taken once, so that the keys and the rules for their claims are of the same settings.
    let settings = app.settings();
    let token = token.ok_or(AuthError::NoToken)?;
    let claims = check_token(app, &settings, token).await?;
    access(app, &settings, claims, room, unix).await
}

/// Verifies a token by the configured keys and those that its issuer publishes.
pub(super) async fn check_token(
    app: &App,
    settings: &Settings,
    token: &str,
) -> Result<Claims, TokenError> {
    match &app.issuer_keys {
        Some(issuer) => issuer.check_or_refresh(&settings.tokens, token).await,
        None => settings.tokens.check(token, clock::now().unix),
    }
}

/// Reads the relation to `room` of a user whose token was checked before, with these claims.
pub async fn room_access_of(
    app: &App,
    claims: Claims,
    room: &str,
) -> Result<RoomAccess, AuthError> {
    let unix = clock::now().unix;
    if claims.exp <= unix {
        return Err(TokenError::Expired.into());
    }
    access(app, &app.settings(), claims, room, unix).await
}

async fn access(
    app: &App,
    settings: &Settings,
    claims: Claims,
    room: &str,
    unix: u64,
) -> Result<RoomAccess, AuthError> {
    let auth = &settings.config.auth;
    let admission = app.store.admission(room, &claims.sub, unix).await?;
    let (mut user, room) = match admission.user {
        Some(user) => (user, admission.room),
        None if auth.provision_users => (provision(app, &claims).await?, admission.room),
        None => return Err(AuthError::Unknown),
    };
    let is_token_admin = auth.trust_roles && is_foreign_admin(&claims);
    user.admin |= is_token_admin;
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
        caller: Caller {
            claims,
            user,
            is_token_admin,
        },
        room,
        participant: admission.participant,
        ever_member: admission.ever_member,
        moderator: admission.moderator,
        generation: admission.generation,
        removal: admission.removal,
    })
}

/// Whether another issuer grants the role. In parlor's own tokens, the role is a copy from the store.
pub(super) fn is_foreign_admin(claims: &Claims) -> bool {
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
