//! Reads everything that the relay must reject.

use tokio_postgres::Row;

use super::call::{LONG_READ, Parameters, time};
use super::database::Database;
use crate::storage::rows::Columns;
use crate::storage::{BannedUser, Changes, EndedMembership, RevocationList, StoreError};

/// One statement, so that all parts are of the same moment. The columns are: kind, user or room, room, whether the
/// user is a member of another room, and a generation.
///
/// The parameters are the time and, with [`SUBJECTS`], users, rooms, and the users and rooms of memberships.
const REVOCATIONS: &str = "
    SELECT 'user', id, NULL, NULL::boolean, NULL::bigint FROM users
    WHERE (disabled_at IS NOT NULL OR deleted_at IS NOT NULL) AND {user}
    UNION ALL
    SELECT CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END, id, NULL, NULL, NULL
    FROM coworking_rooms WHERE {room}
    UNION ALL
    SELECT 'generation', id, NULL, NULL, token_generation FROM users
    WHERE token_generation > 0 AND deleted_at IS NULL AND {user}
    UNION ALL
    SELECT CASE WHEN left_at IS NULL THEN 'later' ELSE 'ended' END, user_id, room_id, {elsewhere}, generation
    FROM room_participants m WHERE (left_at IS NOT NULL OR generation > 0) AND {membership}
    UNION ALL
    SELECT 'banned', user_id, room_id, {elsewhere}, NULL
    FROM room_bans m WHERE (expires_at IS NULL OR expires_at > $1) AND {membership}";

const ELSEWHERE: &str = "EXISTS (
        SELECT 1 FROM room_participants e WHERE e.user_id = m.user_id AND e.left_at IS NULL)";

/// Conditions of `REVOCATIONS` that restrict it to some users, rooms and memberships.
const SUBJECTS: [(&str, &str); 3] = [
    ("{user}", "id = ANY ($2::text[])"),
    ("{room}", "id = ANY ($3::text[])"),
    (
        "{membership}",
        "(user_id, room_id) IN (SELECT * FROM unnest($4::text[], $5::text[]))",
    ),
];

impl Database {
    pub(crate) async fn revocations(
        &self,
        unix: u64,
        changes: &Changes,
    ) -> Result<RevocationList, StoreError> {
        let mut list = RevocationList::default();
        let add = |row: &Row| add(&mut list, row);
        let sql = REVOCATIONS.replace("{elsewhere}", ELSEWHERE);
        let now = time(unix);
        match changes {
            Changes::Everything => {
                let conditions = SUBJECTS.iter();
                let sql = conditions.fold(sql, |sql, (name, _)| sql.replace(name, "true"));
                self.query(LONG_READ, &sql, &[&now], add).await?;
            }
            Changes::Of(subjects) => {
                let conditions = SUBJECTS.iter();
                let sql =
                    conditions.fold(sql, |sql, (name, condition)| sql.replace(name, condition));
                let users: Vec<&str> = subjects.users.iter().map(|user| &**user).collect();
                let rooms: Vec<&str> = subjects.rooms.iter().map(|room| &**room).collect();
                let memberships = subjects.memberships.iter();
                let (members, joined): (Vec<&str>, Vec<&str>) =
                    memberships.map(|(user, room)| (&**user, &**room)).unzip();
                let parameters: Parameters<'_> = &[&now, &users, &rooms, &members, &joined];
                self.query(LONG_READ, &sql, parameters, add).await?;
            }
        }
        Ok(list)
    }
}

/// Adds a row of `REVOCATIONS`.
fn add(list: &mut RevocationList, row: &Row) -> Result<(), tokio_postgres::Error> {
    let id: String = row.try_get(1)?;
    match row.try_get(0)? {
        "user" => list.users.push(id),
        "open" => list.open_rooms.push(id),
        "closed" => list.rooms.push(id),
        "generation" => list.generations.push((id, row.generation(4)?)),
        "later" => {
            let membership = (id, row.try_get(2)?, row.generation(4)?);
            list.later_memberships.push(membership);
        }
        "ended" => list.ended_memberships.push(EndedMembership {
            user: id,
            room: row.try_get(2)?,
            elsewhere: row.try_get(3)?,
            next_generation: row.generation(4)?,
        }),
        _ => list.bans.push(BannedUser {
            user: id,
            room: row.try_get(2)?,
            elsewhere: row.try_get(3)?,
        }),
    }
    Ok(())
}
