//! Reads everything that the relay must reject.

use super::call::{LONG_READ, time};
use super::database::Database;
use crate::storage::{EndedMembership, RevocationList, StoreError};

/// One statement, so that all parts are of the same moment.
const REVOCATIONS: &str = "
    SELECT 'user', id, NULL, NULL::boolean, NULL::bigint FROM users
    WHERE disabled_at IS NOT NULL OR deleted_at IS NOT NULL
    UNION ALL
    SELECT CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END, id, NULL, NULL, NULL
    FROM coworking_rooms
    UNION ALL
    SELECT 'generation', id, NULL, NULL, token_generation FROM users
    WHERE token_generation > 0 AND deleted_at IS NULL
    UNION ALL
    SELECT 'later', user_id, room_id, NULL, generation FROM room_participants
    WHERE left_at IS NULL AND generation > 0
    UNION ALL
    SELECT 'membership', ended.user_id, ended.room_id, EXISTS (
        SELECT 1 FROM room_participants e
        WHERE e.user_id = ended.user_id AND e.left_at IS NULL), NULL
    FROM (SELECT user_id, room_id FROM room_participants WHERE left_at IS NOT NULL
          UNION
          SELECT user_id, room_id FROM room_bans
          WHERE expires_at IS NULL OR expires_at > $1) ended";

impl Database {
    pub(crate) async fn revocations(&self, unix: u64) -> Result<RevocationList, StoreError> {
        let mut list = RevocationList::default();
        self.query(LONG_READ, REVOCATIONS, &[&time(unix)], |row| {
            let id: String = row.try_get(1)?;
            match row.try_get(0)? {
                "user" => list.users.push(id),
                "open" => list.open_rooms.push(id),
                "closed" => list.rooms.push(id),
                "generation" => {
                    let generation: i64 = row.try_get(4)?;
                    list.generations.push((id, generation.unsigned_abs()));
                }
                "later" => {
                    let generation: i64 = row.try_get(4)?;
                    let membership = (id, row.try_get(2)?, generation.unsigned_abs());
                    list.later_memberships.push(membership);
                }
                _ => list.ended_memberships.push(EndedMembership {
                    user: id,
                    room: row.try_get(2)?,
                    elsewhere: row.try_get(3)?,
                }),
            }
            Ok(())
        })
        .await?;
        Ok(list)
    }
}
