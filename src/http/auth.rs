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
pub struct Visitor {
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
pub enum Refusal {
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

impl Refusal {
    /// One word for each, for figures.
    pub fn word(&self) -> &'static str {
        match self {
            Refusal::NoToken => "no-token",
            Refusal::Token(error) => error.word(),
            Refusal::Unknown => "unknown-user",
            Refusal::Deleted => "deleted-user",
            Refusal::SignedOut => "signed-out",
            Refusal::GuestExpired => "guest-expired",
            Refusal::Disabled => "disabled-user",
            Refusal::Store(_) => "store",
        }
    }
}

/// Who the token says one is, and how things stand with `room`: one read of the store.
pub async fn visitor(app: &App, token: Option<&str>, room: &str) -> Result<Visitor, Refusal> {
    let unix = clock::now().unix;
    // Once: what a key vouches for is what the same settings say of it.
    let settings = app.settings();
    let auth = &settings.config.auth;
    let claims = settings
        .tokens
        .check(token.ok_or(Refusal::NoToken)?, unix)?;
    let admission = app.store.admission(room, &claims.sub, unix).await?;
    let (mut user, room) = match admission.user {
        Some(user) => (user, admission.room),
        None if auth.provision_users => (provision(app, &claims).await?, admission.room),
        None => return Err(Refusal::Unknown),
    };
    user.admin |= auth.trust_roles && is_foreign_admin(&claims);
    if user.deleted {
        return Err(Refusal::Deleted);
    }
    if user.disabled {
        return Err(Refusal::Disabled);
    }
    if !user.tokens.accept(claims.issue()) {
        return Err(Refusal::SignedOut);
    }
    if !user.is_welcome(unix) {
        return Err(Refusal::GuestExpired);
    }
    Ok(Visitor {
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

async fn provision(app: &App, claims: &Claims) -> Result<User, Refusal> {
    let made = app.store.provision(&claims.sub, claims.name.as_deref());
    made.await.map_err(|error| match error {
        CreateError::Store(fault) => Refusal::Store(fault),
        CreateError::Deleted(_) => Refusal::Deleted,
        _ => Refusal::Unknown,
    })
}

impl Request {
    /// Who the `Authorization` header says one is.
    pub async fn caller(&self) -> Result<Caller, Error> {
        // No room has an empty id.
        Ok(self.visitor("").await?.caller)
    }

    /// [`visitor`] by the `Authorization` header.
    pub async fn visitor(&self, room: &str) -> Result<Visitor, Error> {
        match visitor(&self.app, self.bearer(), room).await {
            Ok(visitor) => {
                self.set_user(&visitor.caller.user.id);
                Ok(visitor)
            }
            Err(refusal) => {
                self.app.metrics.entrance.refused("http", refusal.word());
                Err(refusal.into())
            }
        }
    }
}

impl From<Refusal> for Error {
    /// The cause goes to the log; the caller learns what to do about it.
    fn from(refusal: Refusal) -> Error {
        if !matches!(refusal, Refusal::Store(_)) {
            tracing::debug!(reason = %refusal, "not authenticated");
        }
        match refusal {
            Refusal::NoToken => Error::unauthorized("Not authenticated"),
            Refusal::Token(TokenError::Expired) | Refusal::GuestExpired => {
                invalid_token("token-expired", "The token has expired")
            }
            Refusal::SignedOut => {
                invalid_token("signed-out", "This token is no longer good: sign in again")
            }
            Refusal::Token(_) | Refusal::Unknown | Refusal::Deleted => {
                invalid_token("unauthorized", "Could not validate credentials")
            }
            Refusal::Disabled => Error::new(
                StatusCode::FORBIDDEN,
                "user-disabled",
                "This user is disabled",
            ),
            Refusal::Store(fault) => fault.into(),
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
