//! Lookup of users and guests for an admin: by name, by room or by id; and the access of guests.

use rusqlite::named_params;

use super::database::Database;
use crate::storage::rows::{USER_COLUMNS, active_guest, person};
use crate::storage::utc;
use crate::storage::{ActiveGuest, Person, StoreError};

/// The guest with an id whose access may be prolonged: a member of an open room, with an invite that is still valid. Its
/// number of uses does not matter: the guest has used it. A kick ends the membership, and the ban of a guest may keep
/// the invite.
const MAY_PROLONG: &str = "
    WHERE id = :id AND guest_until > :now AND guest_until <= :until
      AND disabled_at IS NULL AND deleted_at IS NULL
      AND EXISTS (SELECT 1 FROM room_invites i LEFT JOIN users author ON author.id = i.created_by
                  WHERE i.id = users.invite_id AND i.room_id = users.guest_room_id
                    AND i.revoked_at IS NULL AND i.expires_at > :now
                    AND author.disabled_at IS NULL AND author.deleted_at IS NULL)
      AND EXISTS (SELECT 1 FROM room_participants p JOIN coworking_rooms r ON r.id = p.room_id
                  WHERE p.room_id = users.guest_room_id AND p.user_id = users.id
                    AND p.left_at IS NULL AND r.closed_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM room_bans b
                      WHERE b.room_id = users.guest_room_id AND b.user_id = users.id
                        AND (b.expires_at IS NULL OR b.expires_at > :now))";

impl Database {
    pub(crate) async fn prolong_guest(
        &self,
        id: &str,
        unix: u64,
        until: u64,
    ) -> Result<bool, StoreError> {
        let (id, now, until) = (id.to_owned(), utc::format(unix), utc::format(until));
        self.write(move |connection| {
            let sql = format!("UPDATE users SET guest_until = :until {MAY_PROLONG}");
            let parameters = named_params! {":id": id, ":now": now, ":until": until};
            let changed = connection.prepare_cached(&sql)?.execute(parameters)?;
            Ok(Ok(changed > 0))
        })
        .await
    }

    pub(crate) async fn guests(
        &self,
        display_name: Option<&str>,
        room_id: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<ActiveGuest>, StoreError> {
        let (name, room) = (display_name.map(str::to_owned), room_id.map(str::to_owned));
        let sql = format!(
            "SELECT {USER_COLUMNS}, r.name, EXISTS (
                 SELECT 1 FROM room_participants p
                 WHERE p.room_id = r.id AND p.user_id = u.id AND p.left_at IS NULL)
             FROM users u JOIN coworking_rooms r ON r.id = u.guest_room_id
             WHERE u.guest_until > :now AND u.deleted_at IS NULL
               AND (:name IS NULL OR u.display_name = :name)
               AND (:room IS NULL OR r.id = :room)
             ORDER BY u.created_at DESC, u.id LIMIT :limit"
        );
        self.read(move |connection| {
            let parameters = named_params! {
                ":now": utc::format(unix),
                ":name": name,
                ":room": room,
                ":limit": limit,
            };
            connection
                .prepare_cached(&sql)?
                .query_map(parameters, |row| active_guest(row))?
                .collect()
        })
        .await
    }

    pub(crate) async fn guest_count(&self, unix: u64) -> Result<u32, StoreError> {
        let now = utc::format(unix);
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM users WHERE guest_until > ?1")?
                .query_row([now], |row| row.get(0))
        })
        .await
    }

    pub(crate) async fn search_people(
        &self,
        text: &str,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<Person>, StoreError> {
        let parameters = (text.to_owned(), utc::format(unix), limit);
        let sql = format!(
            "SELECT {USER_COLUMNS}, r.name FROM users u
             LEFT JOIN coworking_rooms r ON r.id = u.guest_room_id
             WHERE u.deleted_at IS NULL AND (u.guest_until IS NULL OR u.guest_until > ?2)
               AND (instr(lower(u.name), lower(?1)) OR instr(lower(u.display_name), lower(?1)))
             ORDER BY u.guest_until IS NOT NULL, u.display_name, u.id LIMIT ?3"
        );
        self.read(move |connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(parameters, |row| person(row))?
                .collect()
        })
        .await
    }

    pub(crate) async fn people(&self, ids: Vec<String>) -> Result<Vec<Person>, StoreError> {
        let ids = serde_json::Value::from(ids).to_string();
        let sql = format!(
            "SELECT {USER_COLUMNS}, r.name FROM json_each(?1) requested JOIN users u ON u.id = requested.value
             LEFT JOIN coworking_rooms r ON r.id = u.guest_room_id"
        );
        self.read(move |connection| {
            connection
                .prepare_cached(&sql)?
                .query_map([ids], |row| person(row))?
                .collect()
        })
        .await
    }
}
