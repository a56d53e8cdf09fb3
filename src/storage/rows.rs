//! Decodes rows of both stores. The columns of a decoder have the same order in the SQL of both.

use super::model::{
    ActiveGuest, ActiveInvite, Admission, AuditEntry, Ban, EndedMembership, Guest, Membership,
    Message, Participant, Person, Removal, Room, RoomRole, TokenCutoff, User,
};

/// The columns of a user; the table goes by `u`.
pub(super) const USER_COLUMNS: &str = "u.id, u.name, u.display_name, u.is_admin, \
    u.disabled_at IS NOT NULL, u.deleted_at IS NOT NULL, u.guest_room_id, u.guest_until, \
    u.created_at, u.invite_id, u.token_generation, u.tokens_from";

pub(super) const USER_COLUMN_COUNT: usize = 12;

/// The columns of a room; the table goes by `r`.
pub(super) const ROOM_COLUMNS: &str = "r.id, r.name, r.is_private, r.max_participants, r.owner_id, r.created_at, r.closed_at, \
    r.locked_at IS NOT NULL";

/// Whether a member, `u` and `p`, owns the room or is an admin, and whether the owner named them a moderator.
pub(super) const ROLE: &str = "u.is_admin OR EXISTS (
        SELECT 1 FROM coworking_rooms r WHERE r.id = p.room_id AND r.owner_id = u.id),
    EXISTS (SELECT 1 FROM room_moderators m WHERE m.room_id = p.room_id AND m.user_id = u.id)";

/// A row of a store.
pub(super) trait Columns {
    type Error;

    fn value<T>(&self, column: usize) -> Result<T, Self::Error>
    where
        T: rusqlite::types::FromSql + tokio_postgres::types::FromSqlOwned;

    /// Returns a time in Unix seconds; a time before 1970 counts as 1970.
    fn optional_time(&self, column: usize) -> Result<Option<u64>, Self::Error>;

    /// Returns the time of a column that is never NULL.
    fn time(&self, column: usize) -> Result<u64, Self::Error> {
        Ok(self.optional_time(column)?.unwrap_or(0))
    }

    /// Returns the generation of a membership, or of a user's tokens.
    fn generation(&self, column: usize) -> Result<u64, Self::Error> {
        Ok(self.value::<i64>(column)?.unsigned_abs())
    }
}

/// Decodes [`USER_COLUMNS`] from the column `first` on.
pub(super) fn user_at<R: Columns>(row: &R, first: usize) -> Result<User, R::Error> {
    let guest_room: Option<String> = row.value(first + 6)?;
    let guest_until = row.optional_time(first + 7)?;
    let invite = row.value(first + 9)?;
    Ok(User {
        id: row.value(first)?,
        name: row.value(first + 1)?,
        display_name: row.value(first + 2)?,
        admin: row.value(first + 3)?,
        disabled: row.value(first + 4)?,
        deleted: row.value(first + 5)?,
        guest: guest_room.zip(guest_until).map(|(room_id, until)| Guest {
            room_id,
            until,
            invite,
        }),
        token_cutoff: TokenCutoff {
            generation: row.generation(first + 10)?,
            from: row.optional_time(first + 11)?,
        },
        created_at: row.time(first + 8)?,
    })
}

/// Decodes [`ROOM_COLUMNS`] from the column `first` on.
pub(super) fn room_at<R: Columns>(row: &R, first: usize) -> Result<Room, R::Error> {
    let capacity: Option<i32> = row.value(first + 3)?;
    Ok(Room {
        id: row.value(first)?,
        name: row.value(first + 1)?,
        private: row.value(first + 2)?,
        max_participants: capacity.map(i32::unsigned_abs),
        owner_id: row.value(first + 4)?,
        created_at: row.time(first + 5)?,
        closed_at: row.optional_time(first + 6)?,
        locked: row.value(first + 7)?,
    })
}

/// Decodes an admission: nine columns, [`USER_COLUMNS`] and [`ROOM_COLUMNS`].
pub(super) fn admission<R: Columns>(row: &R) -> Result<Admission, R::Error> {
    /// The number of columns before the user's columns.
    const LEADING_COLUMNS: usize = 9;
    let (user_known, room_known): (bool, bool) = (row.value(0)?, row.value(1)?);
    let participant: bool = row.value(3)?;
    let kicked = row.optional_time(4)?.filter(|_| !participant);
    let removal = if row.value(5)? {
        Some(Removal::Banned {
            until: row.optional_time(6)?,
        })
    } else {
        kicked.map(|until| Removal::Kicked { until })
    };
    Ok(Admission {
        participant,
        generation: row.generation(7)?,
        ever_member: row.value(2)?,
        moderator: row.value(8)?,
        removal,
        user: user_known
            .then(|| user_at(row, LEADING_COLUMNS))
            .transpose()?,
        room: room_known
            .then(|| room_at(row, LEADING_COLUMNS + USER_COLUMN_COUNT))
            .transpose()?,
    })
}

pub(super) fn participant<R: Columns>(row: &R) -> Result<Participant, R::Error> {
    Ok(Participant {
        user_id: row.value(0)?,
        display_name: row.value(1)?,
        joined_at: row.time(2)?,
        guest: row.value(3)?,
        role: role_at(row, 3)?,
    })
}

/// Decodes a role: whether the user is a guest, is the owner or an admin, and is a moderator.
fn role_at<R: Columns>(row: &R, first: usize) -> Result<RoomRole, R::Error> {
    let (is_guest, is_moderator): (bool, bool) = (row.value(first)?, row.value(first + 2)?);
    Ok(if row.value(first + 1)? {
        RoomRole::Owner
    } else if is_moderator {
        RoomRole::Moderator
    } else if is_guest {
        RoomRole::Guest
    } else {
        RoomRole::Member
    })
}

pub(super) fn membership<R: Columns>(row: &R) -> Result<Membership, R::Error> {
    Ok(Membership {
        room_id: row.value(0)?,
        room_name: row.value(1)?,
        joined_at: row.time(2)?,
    })
}

/// Decodes user, room and next generation of a guest's ended membership. A guest has one room only.
pub(super) fn ended_guest<R: Columns>(row: &R) -> Result<EndedMembership, R::Error> {
    Ok(EndedMembership {
        user: row.value(0)?,
        room: row.value(1)?,
        elsewhere: false,
        next_generation: row.generation(2)?,
    })
}

pub(super) fn ban<R: Columns>(row: &R) -> Result<Ban, R::Error> {
    Ok(Ban {
        user_id: row.value(0)?,
        name: row.value(1)?,
        display_name: row.value(2)?,
        guest: row.value(3)?,
        reason: row.value(4)?,
        created_at: row.time(5)?,
        until: row.optional_time(6)?,
        created_by: row.value(7)?,
    })
}

pub(super) fn audit_entry<R: Columns>(row: &R) -> Result<AuditEntry, R::Error> {
    Ok(AuditEntry {
        id: row.value(0)?,
        at: row.time(1)?,
        action: row.value(2)?,
        actor: row.value(3)?,
        actor_name: row.value(4)?,
        target: row.value(5)?,
        target_name: row.value(6)?,
        reason: row.value(7)?,
        until: row.optional_time(8)?,
        value: row.value(9)?,
    })
}

pub(super) fn active_invite<R: Columns>(row: &R) -> Result<ActiveInvite, R::Error> {
    let uses_left: Option<i64> = row.value(6)?;
    Ok(ActiveInvite {
        id: row.value(0)?,
        room_id: row.value(1)?,
        room_name: row.value(2)?,
        created_by: row.value(3)?,
        created_at: row.time(4)?,
        expires_at: row.time(5)?,
        uses_left: uses_left.map(|uses| u32::try_from(uses).unwrap_or(u32::MAX)),
    })
}

pub(super) fn message<R: Columns>(row: &R) -> Result<Message, R::Error> {
    Ok(Message {
        id: row.value(0)?,
        room_id: row.value(1)?,
        user_id: row.value(2)?,
        display_name: row.value(3)?,
        content: row.value(4)?,
        created_at: row.time(5)?,
    })
}

/// Decodes a guest: [`USER_COLUMNS`], the name of the room, and whether the guest is a member of it.
pub(super) fn active_guest<R: Columns>(row: &R) -> Result<ActiveGuest, R::Error> {
    Ok(ActiveGuest {
        user: user_at(row, 0)?,
        room_name: row.value(USER_COLUMN_COUNT)?,
        participant: row.value(USER_COLUMN_COUNT + 1)?,
    })
}

/// Decodes a user or a guest: [`USER_COLUMNS`] and the name of a guest's room.
pub(super) fn person<R: Columns>(row: &R) -> Result<Person, R::Error> {
    Ok(Person {
        user: user_at(row, 0)?,
        guest_room: row.value(USER_COLUMN_COUNT)?,
    })
}
