//! From a token to a user that the store knows, or the reason why not.

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::App;
use super::error::Error;
use super::request::Request;
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
    pub fn word(&self) -> &'static str {
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
pub async fn access(app: &App, token: Option<&str>, room: &str) -> Result<RoomAccess, AuthError> {
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

impl Request {
    /// Who the `Authorization` header says one is.
    pub async fn caller(&self) -> Result<Caller, Error> {
        // No room has an empty id.
        Ok(self.access("").await?.caller)
    }

    /// [`access`] by the `Authorization` header.
    pub async fn access(&self, room: &str) -> Result<RoomAccess, Error> {
        match access(&self.app, self.bearer(), room).await {
            Ok(access) => {
                self.set_user(&access.caller.user.id);
                Ok(access)
            }
            Err(error) => {
                self.app.metrics.entrance.refused("http", error.word());
                Err(error.into())
            }
        }
    }
}

impl From<AuthError> for Error {
    /// The cause goes to the log; the caller learns what to do about it.
    fn from(error: AuthError) -> Error {
        if !matches!(error, AuthError::Store(_)) {
            tracing::debug!(reason = %error, "not authenticated");
        }
        match error {
            AuthError::NoToken => Error::unauthorized("Not authenticated"),
            AuthError::Token(TokenError::Expired) | AuthError::GuestExpired => {
                invalid_token("token-expired", "The token has expired")
            }
            AuthError::SignedOut => {
                invalid_token("signed-out", "This token is no longer good: sign in again")
            }
            AuthError::Token(_) | AuthError::Unknown | AuthError::Deleted => {
                invalid_token("unauthorized", "Could not validate credentials")
            }
            AuthError::Disabled => Error::new(
                StatusCode::FORBIDDEN,
                "user-disabled",
                "This user is disabled",
            ),
            AuthError::Store(fault) => fault.into(),
        }
    }
}

/// RFC 6750 §3.1.
fn invalid_token(code: &'static str, detail: &'static str) -> Error {
    Error::new(StatusCode::UNAUTHORIZED, code, detail).with(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer error=\"invalid_token\""),
    )
}

impl From<StoreError> for Error {
    fn from(fault: StoreError) -> Error {
        tracing::error!(error = %fault, "the database failed");
        match fault {
            StoreError::Locked(_)
            | StoreError::Full(_)
            | StoreError::Replaced(_)
            | StoreError::TimedOut { .. }
            | StoreError::Closed(_) => Error::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The server cannot do that at the moment; try again in a while",
            ),
            _ => Error::internal(),
        }
    }
}
