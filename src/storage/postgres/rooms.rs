//! Finds, creates, changes, closes and deletes rooms.

use super::call::{LONG_WRITE, Parameters, READ, REPEATABLE_WRITE, Text, WRITE, time};
use super::database::Database;
use super::rows::{ROOM_OF_RESULT, ended_memberships_at};
use crate::clock;
use crate::display_name::is_valid_name;
use crate::storage::rows::{ROOM_COLUMNS, room_at};
use crate::storage::{
    ChangeError, ClosedRoom, CreateError, MAX_OWNED_ROOMS, MAX_ROOM_CAPACITY, NewRoom, Room,
    RoomChange, RoomQuery, StoreError,
};
use crate::token::{ROOM_ID_RULE, valid_room_id};

impl Database {
    pub(crate) async fn room(&self, id_or_name: &str) -> Result<Option<Room>, StoreError> {
        let found = self.find_rooms(id_or_name).await?;
        Ok(found.into_iter().next())
    }

    pub(crate) async fn find_rooms(&self, id_or_name: &str) -> Result<Vec<Room>, StoreError> {
        let sql = format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r
             WHERE r.id = $1 OR (r.name = $1 AND r.closed_at IS NULL) ORDER BY r.id = $1 DESC"
        );
        self.query(READ, &sql, &[&Text(id_or_name)], |row| room_at(row, 0))
            .await
    }

    pub(crate) async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        let sql = format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r WHERE r.closed_at IS NULL ORDER BY r.name"
        );
        self.query(READ, &sql, &[], |row| room_at(row, 0)).await
    }

    pub(crate) async fn room_counts(&self) -> Result<(i64, i64), StoreError> {
        let sql = "SELECT (SELECT count(*) FROM coworking_rooms WHERE closed_at IS NULL),
                          (SELECT count(*) FROM room_participants WHERE left_at IS NULL)";
        self.query_one(READ, sql, &[], |row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .await
    }

    pub(crate) async fn visible_rooms(&self, query: RoomQuery) -> Result<Vec<Room>, StoreError> {
        let sql = format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r
             WHERE r.closed_at IS NULL AND r.name > $1 AND CASE
                 WHEN $2::text[] IS NOT NULL THEN r.id = ANY ($2)
                 ELSE NOT r.is_private OR $3 OR r.owner_id = $4 OR EXISTS (
                     SELECT 1 FROM room_participants p
                     WHERE p.room_id = r.id AND p.user_id = $4 AND p.left_at IS NULL)
                     OR EXISTS (
                     SELECT 1 FROM room_moderators m
                     WHERE m.room_id = r.id AND m.user_id = $4)
                 END
             ORDER BY r.name LIMIT $5"
        );
        let after = query.after.unwrap_or_default();
        let only: Option<Vec<Text<'_>>> = query
            .only
            .as_ref()
            .map(|ids| ids.iter().map(|id| Text(id)).collect());
        let parameters: Parameters<'_> = &[
            &Text(&after),
            &only,
            &query.admin,
            &Text(&query.user_id),
            &i64::from(query.limit),
        ];
        self.query(READ, &sql, parameters, |row| room_at(row, 0))
            .await
    }

    pub(crate) async fn create_room(&self, new: NewRoom) -> Result<Room, CreateError> {
        if let Some(id) = new.id.as_ref().filter(|id| !valid_room_id(id)) {
            return Err(CreateError::BadId(id.clone(), ROOM_ID_RULE));
        }
        let invalid = if is_valid_name(&new.name) {
            check_capacity(new.max_participants).err()
        } else {
            Some(CreateError::BadName)
        };
        let room = Room {
            id: new.id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            name: new.name,
            private: new.private,
            max_participants: new.max_participants,
            owner_id: new.owner_id,
            created_at: clock::now().unix,
            closed_at: None,
            locked: false,
        };
        let sql = "SELECT create_room($1, $2, $3, $4, $5, $6, $7, $8)";
        let owner = room.owner_id.as_deref();
        let parameters: Parameters<'_> = &[
            &room.id,
            &Text(&room.name),
            &invalid.is_none(),
            &room.private,
            &room.max_participants.map(u32::cast_signed),
            &owner.map(Text),
            &i64::from(MAX_OWNED_ROOMS),
            &time(room.created_at),
        ];
        let outcome: String = self
            .query_one(WRITE.without_doubt(), sql, parameters, |row| row.try_get(0))
            .await?;
        if let ("invalid", Some(invalid)) = (outcome.as_str(), invalid) {
            return Err(invalid);
        }
        Err(match outcome.as_str() {
            "done" => return Ok(room),
            "id-taken" => CreateError::IdTaken(room.id),
            "name-taken" => CreateError::NameTaken(room.name),
            "no-such-user" => CreateError::NoSuchOwner(room.owner_id.unwrap_or_default()),
            "too-many-rooms" => CreateError::TooManyRooms(MAX_OWNED_ROOMS),
            outcome => CreateError::Owner(self.join_error(outcome)),
        })
    }

    pub(crate) async fn change_room(
        &self,
        id: &str,
        change: RoomChange,
    ) -> Result<Room, ChangeError> {
        let sql = format!(
            "SELECT result.outcome, {ROOM_OF_RESULT} FROM change_room($1, $2, $3, $4, $5, $6) result"
        );
        let name = change.name.as_deref();
        let capacity = change.max_participants.flatten();
        let parameters: Parameters<'_> = &[
            &Text(id),
            &name.map(Text),
            &name.is_none_or(is_valid_name),
            &change.private,
            &change.max_participants.is_some(),
            // A number beyond the range becomes a negative one, and is as invalid.
            &capacity.map(u32::cast_signed),
        ];
        self.query_one(REPEATABLE_WRITE.without_doubt(), &sql, parameters, |row| {
            let outcome: String = row.try_get(0)?;
            Ok(match outcome.as_str() {
                "done" => Ok(room_at(row, 1)?),
                "no-such-room" => Err(ChangeError::NoSuchRoom),
                "room-closed" => Err(ChangeError::RoomClosed),
                "bad-name" => Err(CreateError::BadName.into()),
                "bad-capacity" => Err(CreateError::BadCapacity(capacity.unwrap_or(0)).into()),
                _ => Err(CreateError::NameTaken(name.unwrap_or_default().to_owned()).into()),
            })
        })
        .await?
    }

    pub(crate) async fn close_room(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<ClosedRoom>, StoreError> {
        self.closed("close_room", id, unix).await
    }

    pub(crate) async fn delete_room(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<ClosedRoom>, StoreError> {
        self.closed("delete_room", id, unix).await
    }

    async fn closed(
        &self,
        function: &str,
        id: &str,
        unix: u64,
    ) -> Result<Option<ClosedRoom>, StoreError> {
        let sql = format!(
            "SELECT result.members, result.elsewhere, result.next_generations, {ROOM_OF_RESULT}
             FROM {function}($1, $2) result"
        );
        let parameters: Parameters<'_> = &[&Text(id), &time(unix)];
        self.query_opt(LONG_WRITE, &sql, parameters, |row| {
            let room = room_at(row, 3)?;
            Ok(ClosedRoom {
                ended_memberships: ended_memberships_at(row, 0, &room.id)?,
                room,
            })
        })
        .await
    }
}

fn check_capacity(capacity: Option<u32>) -> Result<(), CreateError> {
    match capacity {
        Some(capacity) if !(1..=MAX_ROOM_CAPACITY).contains(&capacity) => {
            Err(CreateError::BadCapacity(capacity))
        }
        _ => Ok(()),
    }
}
