//! Reads everything that the relay must reject.

use rusqlite::{Connection, Params, Row};

use super::database::Database;
use crate::storage::rows::Columns;
use crate::storage::utc;
use crate::storage::{BannedUser, EndedMembership, RevocationList, StoreError};

impl Database {
    pub(crate) async fn revocations(&self, unix: u64) -> Result<RevocationList, StoreError> {
        let now = utc::format(unix);
        self.read(move |connection| {
            let ids = |sql| rows(connection, sql, (), |row| row.get(0));
            Ok(RevocationList {
                users: ids("SELECT id FROM users
                     WHERE disabled_at IS NOT NULL OR deleted_at IS NOT NULL")?,
                rooms: ids("SELECT id FROM coworking_rooms WHERE closed_at IS NOT NULL")?,
                open_rooms: ids("SELECT id FROM coworking_rooms WHERE closed_at IS NULL")?,
                later_memberships: rows(
                    connection,
                    "SELECT user_id, room_id, generation FROM room_participants
                     WHERE left_at IS NULL AND generation > 0",
                    (),
                    |row| Ok((row.get(0)?, row.get(1)?, row.generation(2)?)),
                )?,
                generations: rows(
                    connection,
                    "SELECT id, token_generation FROM users
                     WHERE token_generation > 0 AND deleted_at IS NULL",
                    (),
                    |row| Ok((row.get(0)?, row.generation(1)?)),
                )?,
                ended_memberships: rows(
                    connection,
                    "SELECT user_id, room_id, EXISTS (
                         SELECT 1 FROM room_participants e
                         WHERE e.user_id = p.user_id AND e.left_at IS NULL), generation
                     FROM room_participants p WHERE left_at IS NOT NULL",
                    (),
                    |row| {
                        Ok(EndedMembership {
                            user: row.get(0)?,
                            room: row.get(1)?,
                            elsewhere: row.get(2)?,
                            next_generation: row.generation(3)?,
                        })
                    },
                )?,
                bans: rows(
                    connection,
                    "SELECT user_id, room_id, EXISTS (
                         SELECT 1 FROM room_participants e
                         WHERE e.user_id = b.user_id AND e.left_at IS NULL)
                     FROM room_bans b WHERE expires_at IS NULL OR expires_at > ?1",
                    [&now],
                    |row| {
                        Ok(BannedUser {
                            user: row.get(0)?,
                            room: row.get(1)?,
                            elsewhere: row.get(2)?,
                        })
                    },
                )?,
            })
        })
        .await
    }
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    decode: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map(parameters, decode)?.collect()
}
