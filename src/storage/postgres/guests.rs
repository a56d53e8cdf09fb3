//! Lookup of users and guests for an admin: by name, by room or by id; and the access of guests.

use super::call::{Parameters, READ, REPEATABLE_WRITE, Text, time};
use super::database::Database;
use crate::storage::rows::{USER_COLUMNS, active_guest, person};
use crate::storage::{ActiveGuest, Person, StoreError};

/// Prolongs the access of a guest who is a member of an open room, with an invite that is still valid. Its number of uses
/// does not matter: the guest has used it. A kick ends the membership, and the ban of a guest may keep the invite.
const PROLONG: &str = "
    UPDATE users u SET guest_until = $3
    WHERE u.id = $1 AND u.guest_until > $2 AND u.guest_until <= $3
      AND u.disabled_at IS NULL AND u.deleted_at IS NULL
      AND EXISTS (SELECT 1 FROM room_invites i LEFT JOIN users author ON author.id = i.created_by
                  WHERE i.id = u.invite_id AND i.room_id = u.guest_room_id
                    AND i.revoked_at IS NULL AND i.expires_at > $2
                    AND author.disabled_at IS NULL AND author.deleted_at IS NULL)
      AND EXISTS (SELECT 1 FROM room_participants p JOIN coworking_rooms r ON r.id = p.room_id
                  WHERE p.room_id = u.guest_room_id AND p.user_id = u.id
                    AND p.left_at IS NULL AND r.closed_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM room_bans b
                      WHERE b.room_id = u.guest_room_id AND b.user_id = u.id
                        AND (b.expires_at IS NULL OR b.expires_at > $2))
    RETURNING u.id";

impl Database {
    pub(crate) async fn prolong_guest(
        &self,
        id: &str,
        unix: u64,
        until: u64,
    ) -> Result<bool, StoreError> {
        let parameters: Parameters<'_> = &[&Text(id), &time(unix), &time(until)];
        let call = REPEATABLE_WRITE.without_doubt();
        let prolonged = self.query_opt(call, PROLONG, parameters, |_| Ok(()));
        Ok(prolonged.await?.is_some())
    }

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
