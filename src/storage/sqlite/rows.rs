//! Reads users, rooms and times from the columns of a row.

use rusqlite::Row;

pub(super) use crate::storage::columns::{ROOM_COLUMNS, USER_COLUMN_COUNT, USER_COLUMNS};
use crate::storage::utc;
use crate::storage::{Guest, Room, TokenCutoff, User};

/// Reads [`USER_COLUMNS`] from the column `first` on.
pub(super) fn user_at(row: &Row<'_>, first: usize) -> rusqlite::Result<User> {
    let guest_room: Option<String> = row.get(first + 6)?;
    let guest_until = optional_time_at(row, first + 7)?;
    let invite: Option<String> = row.get(first + 9)?;
    Ok(User {
        id: row.get(first)?,
        name: row.get(first + 1)?,
        display_name: row.get(first + 2)?,
        admin: row.get(first + 3)?,
        disabled: row.get(first + 4)?,
        deleted: row.get(first + 5)?,
        guest: guest_room.zip(guest_until).map(|(room_id, until)| Guest {
            room_id,
            until,
            invite,
        }),
        token_cutoff: TokenCutoff {
            generation: generation_at(row, first + 10)?,
            from: optional_time_at(row, first + 11)?,
        },
        created_at: time_at(row, first + 8)?,
    })
}

/// Reads [`ROOM_COLUMNS`] from the column `first` on.
pub(super) fn room_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Room> {
    Ok(Room {
        id: row.get(first)?,
        name: row.get(first + 1)?,
        private: row.get(first + 2)?,
        max_participants: row.get(first + 3)?,
        owner_id: row.get(first + 4)?,
        created_at: time_at(row, first + 5)?,
        closed_at: optional_time_at(row, first + 6)?,
    })
}

pub(super) fn time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(optional_time_at(row, column)?.unwrap_or(0))
}

/// A time that cannot be parsed (after a manual edit of the file) counts as 1970.
pub(super) fn optional_time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.map(|text| utc::parse(&text).unwrap_or(0)))
}

/// Reads the generation of a membership, or of a user's tokens.
pub(super) fn generation_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let generation: i64 = row.get(column)?;
    Ok(generation.unsigned_abs())
}
