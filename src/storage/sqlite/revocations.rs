//! Reads everything that the relay must reject.

use super::database::Database;
use crate::storage::utc;
use crate::storage::{EndedMembership, RevocationList, StoreError};

impl Database {
    pub(crate) async fn revocations(&self, unix: u64) -> Result<RevocationList, StoreError> {
        let now = utc::format(unix);
        self.read(move |connection| {
            let ids = |sql: &str| -> rusqlite::Result<Vec<String>> {
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_map((), |row| row.get(0))?.collect()
            };
            let mut ended_memberships = connection.prepare_cached(
                "SELECT user_id, room_id, EXISTS (
                     SELECT 1 FROM room_participants e
                     WHERE e.user_id = p.user_id AND e.left_at IS NULL)
                 FROM room_participants p WHERE left_at IS NOT NULL
                 UNION
                 SELECT user_id, room_id, EXISTS (
                     SELECT 1 FROM room_participants e
                     WHERE e.user_id = b.user_id AND e.left_at IS NULL)
                 FROM room_bans b WHERE expires_at IS NULL OR expires_at > ?1",
            )?;
            let departure = |row: &rusqlite::Row<'_>| {
                Ok(EndedMembership {
                    user: row.get(0)?,
                    room: row.get(1)?,
                    elsewhere: row.get(2)?,
                })
            };
            Ok(RevocationList {
                users: ids("SELECT id FROM users
                     WHERE disabled_at IS NOT NULL OR deleted_at IS NOT NULL")?,
                rooms: ids("SELECT id FROM coworking_rooms WHERE closed_at IS NOT NULL")?,
                open_rooms: ids("SELECT id FROM coworking_rooms WHERE closed_at IS NULL")?,
                later_memberships: connection
                    .prepare_cached(
                        "SELECT user_id, room_id, generation FROM room_participants
                         WHERE left_at IS NULL AND generation > 0",
                    )?
                    .query_map((), |row| {
                        let generation: i64 = row.get(2)?;
                        Ok((row.get(0)?, row.get(1)?, generation.unsigned_abs()))
                    })?
                    .collect::<rusqlite::Result<_>>()?,
                generations: connection
                    .prepare_cached(
                        "SELECT id, token_generation FROM users
                         WHERE token_generation > 0 AND deleted_at IS NULL",
                    )?
                    .query_map((), |row| {
                        let generation: i64 = row.get(1)?;
                        Ok((row.get(0)?, generation.unsigned_abs()))
                    })?
                    .collect::<rusqlite::Result<_>>()?,
                ended_memberships: ended_memberships
                    .query_map([&now], departure)?
                    .collect::<rusqlite::Result<_>>()?,
            })
        })
        .await
    }
}
