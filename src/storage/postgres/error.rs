//! Translates errors of the client and the server.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use crate::storage::StoreError;

/// SQLSTATE of a connection whose database was dropped.
const DATABASE_DROPPED: &str = "57P04";
/// The class of SQLSTATEs of lost connections, as pools such as PgBouncer report them.
const CONNECTION_EXCEPTIONS: &str = "08";
/// The class of SQLSTATEs of a server without memory, connections or the like.
const INSUFFICIENT_RESOURCES: &str = "53";

/// The effect of a failed call on the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, because of a concurrent transaction: the same call may succeed now.
    Conflict,
    /// Nothing.
    Nothing,
    /// Unknown: the connection was lost.
    Unknown,
    /// Unknown: the server did not answer in time.
    NoAnswer,
}

/// A failed call.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) effect: Effect,
}

/// The name of the server in errors: the URL without its password.
#[derive(Clone)]
pub(super) struct ServerName(pub(super) Arc<str>);

impl ServerName {
    pub(super) fn timed_out(&self, timeout: Duration) -> StoreError {
        StoreError::ServerTimedOut {
            server: self.0.to_string(),
            timeout,
        }
    }

    pub(super) fn failed(&self, reason: impl Into<String>) -> StoreError {
        StoreError::ServerFailed {
            server: self.0.to_string(),
            reason: reason.into(),
        }
    }

    pub(super) fn refused(&self, reason: impl Into<String>) -> StoreError {
        StoreError::ServerRefused {
            server: self.0.to_string(),
            reason: reason.into(),
        }
    }

    /// The error for a database that another process serves or copies.
    pub(super) fn in_use(&self, holder: String) -> StoreError {
        StoreError::ServerInUse {
            server: self.0.to_string(),
            holder,
        }
    }

    fn unreachable(&self, reason: String) -> StoreError {
        StoreError::ServerUnreachable {
            server: self.0.to_string(),
            reason,
        }
    }

    fn busy(&self, reason: String) -> StoreError {
        StoreError::ServerBusy {
            server: self.0.to_string(),
            reason,
        }
    }

    /// The failure of a call that got no connection in time.
    pub(super) fn no_connection(&self, timeout: Duration) -> Failure {
        let reason = format!("no connection within {} s", timeout.as_secs());
        Failure {
            error: self.unreachable(reason),
            effect: Effect::Nothing,
        }
    }

    /// An error of a connection in use.
    pub(super) fn failure(&self, error: &tokio_postgres::Error, timeout: Duration) -> Failure {
        let reason = describe(error);
        let Some(state) = error.code() else {
            let (error, effect) = if is_io(error) {
                (self.unreachable(reason), Effect::Unknown)
            } else {
                (self.failed(reason), Effect::Nothing)
            };
            return Failure { error, effect };
        };
        let server = self.0.to_string();
        let nothing = |error| Failure {
            error,
            effect: Effect::Nothing,
        };
        match state {
            s if *s == SqlState::T_R_SERIALIZATION_FAILURE
                || *s == SqlState::T_R_DEADLOCK_DETECTED =>
            {
                Failure {
                    error: self.busy(reason),
                    effect: Effect::Conflict,
                }
            }
            s if *s == SqlState::QUERY_CANCELED || *s == SqlState::LOCK_NOT_AVAILABLE => {
                nothing(self.timed_out(timeout))
            }
            s if *s == SqlState::ADMIN_SHUTDOWN
                || *s == SqlState::CRASH_SHUTDOWN
                || s.code() == DATABASE_DROPPED
                || s.code().starts_with(CONNECTION_EXCEPTIONS) =>
            {
                Failure {
                    error: self.unreachable(reason),
                    effect: Effect::Unknown,
                }
            }
            s if *s == SqlState::CANNOT_CONNECT_NOW || *s == SqlState::TOO_MANY_CONNECTIONS => {
                nothing(self.unreachable(reason))
            }
            s if *s == SqlState::DISK_FULL => nothing(StoreError::ServerFull(server)),
            s if s.code().starts_with(INSUFFICIENT_RESOURCES) => nothing(self.busy(reason)),
            s if *s == SqlState::READ_ONLY_SQL_TRANSACTION => {
                nothing(StoreError::ServerReadOnly(server))
            }
            s if s.code().starts_with("28")
                || *s == SqlState::INVALID_CATALOG_NAME
                || *s == SqlState::INSUFFICIENT_PRIVILEGE =>
            {
                nothing(self.refused(reason))
            }
            _ => nothing(self.failed(reason)),
        }
    }

    /// An error of taking a connection from the pool: nothing was sent.
    pub(super) fn pool_failure(&self, error: &PoolError, timeout: Duration) -> Failure {
        let error = match error {
            PoolError::Timeout(TimeoutType::Wait) => self.timed_out(timeout),
            PoolError::Timeout(_) => return self.no_connection(timeout),
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                self.connect_error(error, timeout)
            }
            PoolError::PostCreateHook(HookError::Message(reason)) => {
                self.unreachable(reason.to_string())
            }
            PoolError::Closed => StoreError::Closed(self.0.as_ref().into()),
            other => self.failed(other.to_string()),
        };
        Failure {
            error,
            effect: Effect::Nothing,
        }
    }

    /// An error of a new connection.
    pub(super) fn connect_error(
        &self,
        error: &tokio_postgres::Error,
        timeout: Duration,
    ) -> StoreError {
        match error.code() {
            Some(_) => self.failure(error, timeout).error,
            None if is_io(error) => self.unreachable(describe(error)),
            None => self.refused(describe(error)),
        }
    }
}

/// Whether the connection is gone, or was never made. A failed TLS handshake is something else: it would fail
/// again.
fn is_io(error: &tokio_postgres::Error) -> bool {
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    error.is_closed() || io.is_some_and(|io| io.kind() != io::ErrorKind::InvalidData)
}

/// The error with its causes, in one line.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return match error.detail() {
            Some(detail) => format!("{} ({detail})", error.message()),
            None => error.message().to_owned(),
        };
    }
    let mut text = match error.source() {
        // The sentence says already that there is no connection.
        Some(cause) if is_io(error) => cause.to_string(),
        _ => error.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
