//! Lookup of users and guests for an admin: by name, by room or by id.

use super::call::{Parameters, READ, Text, time};
use super::database::Database;
use crate::storage::rows::{USER_COLUMNS, active_guest, person};
use crate::storage::{ActiveGuest, Person, StoreError};

impl Database {
    pub(crate) async fn guests(
        &self,
        display_name: Option<&str>,
        room_id: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<ActiveGuest>, StoreError> {
        let sql = format!(
            "SELECT {USER_COLUMNS}, r.name, EXISTS (
                 SELECT 1 FROM room_participants p
                 WHERE p.room_id = r.id AND p.user_id = u.id AND p.left_at IS NULL)
             FROM users u JOIN coworking_rooms r ON r.id = u.guest_room_id
             WHERE u.guest_until > $1 AND u.deleted_at IS NULL
               AND ($2::text IS NULL OR u.display_name = $2)
               AND ($3::text IS NULL OR r.id = $3)
             ORDER BY u.created_at DESC, u.id LIMIT $4"
        );
        let parameters: Parameters<'_> = &[
            &time(unix),
            &display_name.map(Text),
            &room_id.map(Text),
            &i64::from(limit),
        ];
        self.query(READ, &sql, parameters, active_guest).await
    }

    pub(crate) async fn guest_count(&self, unix: u64) -> Result<u32, StoreError> {
        let sql = "SELECT count(*) FROM users WHERE guest_until > $1";
        let count: i64 = self
            .query_one(READ, sql, &[&time(unix)], |row| row.try_get(0))
            .await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub(crate) async fn search_people(
        &self,
        text: &str,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<Person>, StoreError> {
        // The collation of the columns makes `lower` one of ASCII letters alone.
        let sql = format!(
            "SELECT {USER_COLUMNS}, r.name FROM users u
             LEFT JOIN coworking_rooms r ON r.id = u.guest_room_id
             WHERE u.deleted_at IS NULL AND (u.guest_until IS NULL OR u.guest_until > $2)
               AND (position(lower($1::text COLLATE \"C\") IN lower(u.name)) > 0
                    OR position(lower($1::text COLLATE \"C\") IN lower(u.display_name)) > 0)
             ORDER BY u.guest_until IS NOT NULL, u.display_name, u.id LIMIT $3"
        );
        let parameters: Parameters<'_> = &[&Text(text), &time(unix), &i64::from(limit)];
        self.query(READ, &sql, parameters, person).await
    }

    pub(crate) async fn people(&self, ids: Vec<String>) -> Result<Vec<Person>, StoreError> {
        let sql = format!(
            "SELECT {USER_COLUMNS}, r.name
             FROM unnest($1::text[]) WITH ORDINALITY requested (id, position)
             JOIN users u ON u.id = requested.id
             LEFT JOIN coworking_rooms r ON r.id = u.guest_room_id
             ORDER BY requested.position"
        );
        let ids: Vec<Text<'_>> = ids.iter().map(|id| Text(id)).collect();
        self.query(READ, &sql, &[&ids], person).await
    }
}
