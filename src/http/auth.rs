//! Authenticates requests by the `Authorization` header.

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::error::Error;
use super::request::Request;
use crate::service::{AuthError, Caller, RoomAccess, room_access};
use crate::storage::StoreError;
use crate::token::TokenError;

impl Request {
    /// Authenticates the request by its `Authorization` header.
    pub async fn caller(&self) -> Result<Caller, Error> {
        // No room has an empty id.
        Ok(self.access("").await?.caller)
    }

    /// [`room_access`] by the `Authorization` header.
    pub async fn access(&self, room: &str) -> Result<RoomAccess, Error> {
        match room_access(&self.app, self.bearer(), room).await {
            Ok(access) => {
                self.set_user(&access.caller.user.id);
                Ok(access)
            }
            Err(error) => {
                self.app.metrics.auth.rejected("http", error.code());
                Err(error.into())
            }
        }
    }
}

impl From<AuthError> for Error {
    /// The cause is logged; the response says what the client can do.
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
        tracing::error!(error = %fault, "database request failed");
        match fault {
            StoreError::Locked(_)
            | StoreError::Full(_)
            | StoreError::Replaced(_)
            | StoreError::TimedOut { .. }
            | StoreError::Closed(_)
            | StoreError::ServerUnreachable { .. }
            | StoreError::ServerRefused { .. }
            | StoreError::ServerTimedOut { .. }
            | StoreError::ServerBusy { .. }
            | StoreError::ServerReadOnly(_)
            | StoreError::ServerFull(_) => Error::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The server cannot do that at the moment; try again in a while",
            )
            .with(header::RETRY_AFTER, HeaderValue::from_static("5")),
            _ => Error::internal(),
        }
    }
}
