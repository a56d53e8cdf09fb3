//! Lists and ends memberships. A row whose `left_at` is NULL is a member.

use rusqlite::Connection;

use super::database::Database;
use super::lookup::{ACTIVE_MEMBERS, is_member_anywhere};
use crate::storage::rows::{Columns, ROLE, membership, participant};
use crate::storage::utc;
use crate::storage::{EndedMembership, LeaveOutcome, Membership, Participant, StoreError};

impl Database {
    pub(crate) async fn leave(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<LeaveOutcome, StoreError> {
        let (room_id, user_id) = (room_id.to_owned(), user_id.to_owned());
        self.write_without_timeout(move |connection| {
            Ok(Ok(end_membership(connection, &room_id, &user_id, unix)?))
        })
        .await
    }

    pub(crate) async fn participants(
        &self,
        room_id: &str,
        unix: u64,
    ) -> Result<Vec<Participant>, StoreError> {
        let parameters = (room_id.to_owned(), utc::format(unix));
        let sql = format!(
            "SELECT u.id, u.display_name, p.joined_at, u.guest_until IS NOT NULL, {ROLE}
             FROM {ACTIVE_MEMBERS} ORDER BY p.joined_at, u.id"
        );
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let participants = statement.query_map(parameters, |row| participant(row))?;
            participants.collect()
        })
        .await
    }

    pub(crate) async fn memberships(&self, user_id: &str) -> Result<Vec<Membership>, StoreError> {
        let user_id = user_id.to_owned();
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT r.id, r.name, p.joined_at
                     FROM room_participants p JOIN coworking_rooms r ON r.id = p.room_id
                     WHERE p.user_id = ?1 AND p.left_at IS NULL AND r.closed_at IS NULL
                     ORDER BY r.name",
                )?
                .query_map([user_id], |row| membership(row))?
                .collect()
        })
        .await
    }
}

/// Ends the membership, if there is one.
pub(super) fn end_membership(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    unix: u64,
) -> rusqlite::Result<LeaveOutcome> {
    // Without RETURNING, which costs more than a query.
    let ended = connection
        .prepare_cached(
            "UPDATE room_participants SET left_at = ?3, generation = generation + 1
             WHERE room_id = ?1 AND user_id = ?2 AND left_at IS NULL",
        )?
        .execute((room_id, user_id, utc::format(unix)))?;
    let (generation, elsewhere): (Option<i64>, bool) = connection
        .prepare_cached(
            "SELECT (SELECT generation FROM room_participants
                     WHERE room_id = ?1 AND user_id = ?2),
                    EXISTS (SELECT 1 FROM room_participants
                            WHERE user_id = ?2 AND left_at IS NULL)",
        )?
        .query_row((room_id, user_id), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(LeaveOutcome {
        was_member: ended > 0,
        ever_member: generation.is_some(),
        elsewhere,
        next_generation: generation.map_or(0, i64::unsigned_abs),
    })
}

/// Ends the memberships of a room and returns them.
pub(super) fn end_room_memberships(
    connection: &Connection,
    room_id: &str,
    unix: u64,
) -> rusqlite::Result<Vec<EndedMembership>> {
    let ended: Vec<(String, u64)> = connection
        .prepare_cached(
            "UPDATE room_participants SET left_at = ?2, generation = generation + 1
             WHERE room_id = ?1 AND left_at IS NULL RETURNING user_id, generation",
        )?
        .query_map((room_id, utc::format(unix)), |row| {
            Ok((row.get(0)?, row.generation(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    ended
        .into_iter()
        .map(|(user, generation)| {
            Ok(EndedMembership {
                elsewhere: is_member_anywhere(connection, &user)?,
                next_generation: generation,
                room: room_id.to_owned(),
                user,
            })
        })
        .collect()
}
