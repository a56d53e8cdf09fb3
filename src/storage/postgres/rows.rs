//! Reads the columns of a row, and the results of functions.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Error, Row};

use crate::storage::rows::Columns;
use crate::storage::{EndedMembership, LeaveOutcome};

impl Columns for Row {
    type Error = Error;

    fn value<T: FromSqlOwned>(&self, column: usize) -> Result<T, Error> {
        self.try_get(column)
    }

    fn optional_time(&self, column: usize) -> Result<Option<u64>, Error> {
        let time: Option<SystemTime> = self.try_get(column)?;
        let since = time.map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default());
        Ok(since.map(|since| since.as_secs()))
    }
}

/// The columns of a room where `result.room` is a room.
pub(super) const ROOM_OF_RESULT: &str = "(result.room).id, (result.room).name, \
    (result.room).is_private, (result.room).max_participants, (result.room).owner_id, \
    (result.room).created_at, (result.room).closed_at, (result.room).locked_at IS NOT NULL";

/// Reads the result of a leave from the column `first` on.
pub(super) fn leave_at(row: &Row, first: usize) -> Result<LeaveOutcome, Error> {
    Ok(LeaveOutcome {
        was_member: row.try_get(first)?,
        ever_member: row.try_get(first + 1)?,
        elsewhere: row.try_get(first + 2)?,
        next_generation: row.generation(first + 3)?,
    })
}

/// Reads the members of a closed room, whether they are members elsewhere, and the generations of their next
/// memberships, from the column `first` on.
pub(super) fn ended_memberships_at(
    row: &Row,
    first: usize,
    room: &str,
) -> Result<Vec<EndedMembership>, Error> {
    let members: Vec<String> = row.try_get(first)?;
    let elsewhere: Vec<bool> = row.try_get(first + 1)?;
    let generations: Vec<i64> = row.try_get(first + 2)?;
    let ended = members.into_iter().zip(elsewhere).zip(generations);
    Ok(ended
        .map(|((user, elsewhere), generation)| EndedMembership {
            next_generation: generation.unsigned_abs(),
            user,
            room: room.to_owned(),
            elsewhere,
        })
        .collect())
}
