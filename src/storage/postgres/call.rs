//! The kinds of calls: their timeouts, and the rules for repeating them; and their parameters.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::token::MAX_UNIX_SECONDS;

/// Timeout of a call; the server's own (`statement_timeout`) is shorter.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The server's timeout of a statement.
pub(super) const STATEMENT_TIMEOUT: &str = "SET statement_timeout = '4s'";
/// The server's timeout of a statement that reads or changes any number of rows.
pub(super) const LONG_STATEMENT_TIMEOUT: &str = "SET statement_timeout = '18s'";
/// Timeout of a call that reads or changes any number of rows.
const LONG_CALL_TIMEOUT: Duration = Duration::from_secs(20);
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The kind of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) is_write: bool,
    /// Whether the call may run again although it may have taken effect.
    pub(super) is_repeatable: bool,
    pub(super) is_long: bool,
    /// Whether all connections are checked again if its effect stays unknown.
    pub(super) can_doubt: bool,
}

pub(super) const READ: Call = Call {
    is_write: false,
    is_repeatable: true,
    is_long: false,
    can_doubt: false,
};
pub(super) const LONG_READ: Call = Call {
    is_long: true,
    ..READ
};
pub(super) const WRITE: Call = Call {
    is_write: true,
    is_repeatable: false,
    is_long: false,
    can_doubt: true,
};
/// A write that has the same effect twice as once.
pub(super) const REPEATABLE_WRITE: Call = Call {
    is_repeatable: true,
    ..WRITE
};
pub(super) const LONG_WRITE: Call = Call {
    is_long: true,
    ..REPEATABLE_WRITE
};

impl Call {
    /// This kind of call for a write that changes nobody's access.
    pub(super) const fn without_doubt(self) -> Call {
        Call {
            can_doubt: false,
            ..self
        }
    }

    pub(super) fn timeout(self) -> Duration {
        if self.is_long {
            LONG_CALL_TIMEOUT
        } else {
            CALL_TIMEOUT
        }
    }
}

/// A time as a parameter.
pub(super) fn time(unix: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix.min(MAX_UNIX_SECONDS))
}

/// A time within the second `unix` that no other call has: functions recognize their repetition by it.
pub(super) fn unique_time(unix: u64) -> SystemTime {
    time(unix) + random_micros(Duration::from_secs(1))
}

/// A random time below `limit` (at most an hour), in microseconds, which is the precision of the server's times.
pub(super) fn random_micros(limit: Duration) -> Duration {
    let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX).max(1);
    let (random, ..) = uuid::Uuid::new_v4().as_fields();
    Duration::from_micros(u64::from(random % limit))
}

/// Text as a parameter. PostgreSQL cannot store U+0000: it becomes U+FFFD.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl ToSql for Text<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        buffer: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if self.0.contains('\0') {
            return self.0.replace('\0', "\u{fffd}").to_sql(kind, buffer);
        }
        self.0.to_sql(kind, buffer)
    }

    fn accepts(kind: &Type) -> bool {
        <&str as ToSql>::accepts(kind)
    }

    to_sql_checked!();
}
