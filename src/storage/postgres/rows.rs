//! Reads users, rooms and times from the columns of a row.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::{Error, Row};

pub(super) use crate::storage::columns::{ROOM_COLUMNS, USER_COLUMN_COUNT, USER_COLUMNS};
use crate::storage::{EndedMembership, Guest, LeaveOutcome, Room, TokenCutoff, User};

/// Reads [`USER_COLUMNS`] from the column `first` on.
pub(super) fn user_at(row: &Row, first: usize) -> Result<User, Error> {
    let guest_room: Option<String> = row.try_get(first + 6)?;
    let guest_until = optional_time_at(row, first + 7)?;
    let invite: Option<String> = row.try_get(first + 9)?;
    let generation: i64 = row.try_get(first + 10)?;
    Ok(User {
        id: row.try_get(first)?,
        name: row.try_get(first + 1)?,
        display_name: row.try_get(first + 2)?,
        admin: row.try_get(first + 3)?,
        disabled: row.try_get(first + 4)?,
        deleted: row.try_get(first + 5)?,
        guest: guest_room.zip(guest_until).map(|(room_id, until)| Guest {
            room_id,
            until,
            invite,
        }),
        token_cutoff: TokenCutoff {
            generation: generation.unsigned_abs(),
            from: optional_time_at(row, first + 11)?,
        },
        created_at: time_at(row, first + 8)?,
    })
}

/// The columns of [`room_at`] where `result.room` is a room.
pub(super) const ROOM_OF_RESULT: &str = "(result.room).id, (result.room).name, \
    (result.room).is_private, (result.room).max_participants, (result.room).owner_id, \
    (result.room).created_at, (result.room).closed_at";

/// Reads [`ROOM_COLUMNS`] from the column `first` on.
pub(super) fn room_at(row: &Row, first: usize) -> Result<Room, Error> {
    let capacity: Option<i32> = row.try_get(first + 3)?;
    Ok(Room {
        id: row.try_get(first)?,
        name: row.try_get(first + 1)?,
        private: row.try_get(first + 2)?,
        max_participants: capacity.map(i32::unsigned_abs),
        owner_id: row.try_get(first + 4)?,
        created_at: time_at(row, first + 5)?,
        closed_at: optional_time_at(row, first + 6)?,
    })
}

/// Reads the result of a leave from the column `first` on.
pub(super) fn leave_at(row: &Row, first: usize) -> Result<LeaveOutcome, Error> {
    Ok(LeaveOutcome {
        was_member: row.try_get(first)?,
        ever_member: row.try_get(first + 1)?,
        elsewhere: row.try_get(first + 2)?,
        next_generation: generation_at(row, first + 3)?,
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

/// Reads the generation of a membership, or of a user's tokens.
pub(super) fn generation_at(row: &Row, column: usize) -> Result<u64, Error> {
    let generation: i64 = row.try_get(column)?;
    Ok(generation.unsigned_abs())
}

pub(super) fn time_at(row: &Row, column: usize) -> Result<u64, Error> {
    Ok(unix(row.try_get(column)?))
}

pub(super) fn optional_time_at(row: &Row, column: usize) -> Result<Option<u64>, Error> {
    let time: Option<SystemTime> = row.try_get(column)?;
    Ok(time.map(unix))
}

/// Unix seconds; a time before 1970 counts as 1970.
fn unix(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
