//! Finds, creates, changes, closes and deletes rooms.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::database::Database;
use super::lookup::{active_user, room_by_id};
use super::memberships::end_room_memberships;
use crate::clock;
use crate::display_name::is_valid_name;
use crate::storage::rows::{ROOM_COLUMNS, room_at};
use crate::storage::utc;
use crate::storage::{
    ChangeError, ClosedRoom, CreateError, JoinError, MAX_OWNED_ROOMS, MAX_ROOM_CAPACITY, NewRoom,
    Room, RoomChange, RoomQuery, StoreError,
};
use crate::token::{ROOM_ID_RULE, valid_room_id};

/// Deletes the messages, invites, bans, moderators, audit and the name of a room.
const DELETE_ROOM_CONTENT: [&str; 6] = [
    "DELETE FROM room_messages WHERE room_id = ?1",
    "DELETE FROM room_invites WHERE room_id = ?1",
    "DELETE FROM room_bans WHERE room_id = ?1",
    "DELETE FROM room_moderators WHERE room_id = ?1",
    "DELETE FROM room_audit WHERE room_id = ?1",
    "UPDATE coworking_rooms SET name = id WHERE id = ?1",
];

impl Database {
    pub(crate) async fn room(&self, id_or_name: &str) -> Result<Option<Room>, StoreError> {
        let key = id_or_name.to_owned();
        self.read(move |connection| match room_by_id(connection, &key)? {
            Some(room) => Ok(Some(room)),
            None => by_name(connection, &key),
        })
        .await
    }

    pub(crate) async fn find_rooms(&self, id_or_name: &str) -> Result<Vec<Room>, StoreError> {
        let key = id_or_name.to_owned();
        self.read(move |connection| {
            let with_id = room_by_id(connection, &key)?;
            let other = by_name(connection, &key)?.filter(|room| room.id != key);
            Ok(with_id.into_iter().chain(other).collect())
        })
        .await
    }

    pub(crate) async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        let sql = format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r WHERE closed_at IS NULL ORDER BY name"
        );
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_map((), |row| room_at(row, 0))?.collect()
        })
        .await
    }

    pub(crate) async fn room_counts(&self) -> Result<(i64, i64), StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT (SELECT count(*) FROM coworking_rooms WHERE closed_at IS NULL),
                        (SELECT count(*) FROM room_participants WHERE left_at IS NULL)",
            )?;
            statement.query_row((), |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    pub(crate) async fn visible_rooms(&self, query: RoomQuery) -> Result<Vec<Room>, StoreError> {
        let only = query
            .only
            .map(|ids| serde_json::Value::from(ids).to_string());
        let sql = format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r
             WHERE closed_at IS NULL AND name > :after AND CASE
                 WHEN :only IS NOT NULL THEN id IN (SELECT value FROM json_each(:only))
                 ELSE NOT is_private OR :admin OR owner_id = :user OR EXISTS (
                     SELECT 1 FROM room_participants p
                     WHERE p.room_id = r.id AND p.user_id = :user AND p.left_at IS NULL)
                     OR EXISTS (
                     SELECT 1 FROM room_moderators m
                     WHERE m.room_id = r.id AND m.user_id = :user)
                 END
             ORDER BY name LIMIT :limit"
        );
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let parameters = named_params! {
                ":after": query.after.unwrap_or_default(),
                ":only": only,
                ":admin": query.admin,
                ":user": query.user_id,
                ":limit": query.limit,
            };
            statement
                .query_map(parameters, |row| room_at(row, 0))?
                .collect()
        })
        .await
    }

    pub(crate) async fn create_room(&self, new: NewRoom) -> Result<Room, CreateError> {
        let unix = clock::now().unix;
        self.write(move |connection| {
            if let Some(refusal) = check_new_room(connection, &new, unix)? {
                return Ok(Err(refusal));
            }
            let room = Room {
                id: new.id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
                name: new.name,
                private: new.private,
                max_participants: new.max_participants,
                owner_id: new.owner_id,
                created_at: unix,
                closed_at: None,
                locked: false,
            };
            insert(connection, &room)?;
            Ok(Ok(room))
        })
        .await
    }

    pub(crate) async fn change_room(
        &self,
        id: &str,
        change: RoomChange,
    ) -> Result<Room, ChangeError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            let mut room = match room_by_id(connection, &id)? {
                None => return Ok(Err(ChangeError::NoSuchRoom)),
                Some(room) if room.closed_at.is_some() => return Ok(Err(ChangeError::RoomClosed)),
                Some(room) => room,
            };
            room.private = change.private.unwrap_or(room.private);
            room.max_participants = change.max_participants.unwrap_or(room.max_participants);
            let name = change.name.unwrap_or_else(|| room.name.clone());
            if let Some(refusal) = check_changed_room(connection, &room, &name)? {
                return Ok(Err(refusal.into()));
            }
            room.name = name;
            connection
                .prepare_cached(
                    "UPDATE coworking_rooms
                     SET name = ?2, is_private = ?3, max_participants = ?4 WHERE id = ?1",
                )?
                .execute((&room.id, &room.name, room.private, room.max_participants))?;
            Ok(Ok(room))
        })
        .await
    }

    pub(crate) async fn close_room(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<ClosedRoom>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| Ok(Ok(close(connection, &id, unix)?)))
            .await
    }

    pub(crate) async fn delete_room(
        &self,
        id: &str,
        unix: u64,
    ) -> Result<Option<ClosedRoom>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            let closed = close(connection, &id, unix)?;
            for erase in DELETE_ROOM_CONTENT {
                connection.prepare_cached(erase)?.execute([&id])?;
            }
            Ok(Ok(closed))
        })
        .await
    }
}

/// Closes the room and ends the memberships in it, if it is open.
fn close(connection: &Connection, id: &str, unix: u64) -> rusqlite::Result<Option<ClosedRoom>> {
    let closed_now = connection
        .prepare_cached(
            "UPDATE coworking_rooms SET closed_at = ?2 WHERE id = ?1 AND closed_at IS NULL",
        )?
        .execute((id, utc::format(unix)))?;
    let ended_memberships = match closed_now {
        0 => Vec::new(),
        _ => end_room_memberships(connection, id, unix)?,
    };
    let room = room_by_id(connection, id)?;
    Ok(room.map(|room| ClosedRoom {
        room,
        ended_memberships,
    }))
}

/// Returns the reason why this room cannot be created, if any.
fn check_new_room(
    connection: &Connection,
    new: &NewRoom,
    unix: u64,
) -> rusqlite::Result<Option<CreateError>> {
    if let Some(id) = &new.id {
        if !valid_room_id(id) {
            return Ok(Some(CreateError::BadId(id.clone(), ROOM_ID_RULE)));
        }
        if room_by_id(connection, id)?.is_some() {
            return Ok(Some(CreateError::IdTaken(id.clone())));
        }
    }
    if let Some(refusal) = check_name_and_capacity(connection, &new.name, new.max_participants)? {
        return Ok(Some(refusal));
    }
    let Some(id) = &new.owner_id else {
        return Ok(None);
    };
    Ok(match active_user(connection, id, unix)? {
        Err(JoinError::NoSuchUser) => Some(CreateError::NoSuchOwner(id.clone())),
        Err(refusal) => Some(CreateError::Owner(refusal)),
        Ok(owner) if !owner.admin && owned(connection, id)? >= MAX_OWNED_ROOMS => {
            Some(CreateError::TooManyRooms(MAX_OWNED_ROOMS))
        }
        Ok(_) => None,
    })
}

/// Checks a name and a capacity for a room.
fn check_name_and_capacity(
    connection: &Connection,
    name: &str,
    capacity: Option<u32>,
) -> rusqlite::Result<Option<CreateError>> {
    if !is_valid_name(name) {
        return Ok(Some(CreateError::BadName));
    }
    if let Some(refusal) = check_capacity(capacity) {
        return Ok(Some(refusal));
    }
    let taken = by_name(connection, name)?.is_some();
    Ok(taken.then(|| CreateError::NameTaken(name.to_owned())))
}

fn check_capacity(capacity: Option<u32>) -> Option<CreateError> {
    let capacity = capacity?;
    let is_valid = (1..=MAX_ROOM_CAPACITY).contains(&capacity);
    (!is_valid).then_some(CreateError::BadCapacity(capacity))
}

/// Checks changed values of an existing room. It may keep its own name, even if that is no longer valid.
fn check_changed_room(
    connection: &Connection,
    room: &Room,
    name: &str,
) -> rusqlite::Result<Option<CreateError>> {
    if name == room.name {
        return Ok(check_capacity(room.max_participants));
    }
    check_name_and_capacity(connection, name, room.max_participants)
}

/// Returns the number of open rooms of this user.
pub(super) fn owned(connection: &Connection, user_id: &str) -> rusqlite::Result<u32> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM coworking_rooms WHERE owner_id = ?1 AND closed_at IS NULL",
        )?
        .query_row([user_id], |row| row.get(0))
}

fn insert(connection: &Connection, room: &Room) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO coworking_rooms
                    (id, name, is_private, max_participants, owner_id, created_at)
             VALUES (:id, :name, :private, :max_participants, :owner, :created_at)",
        )?
        .execute(named_params! {
            ":id": room.id,
            ":name": room.name,
            ":private": room.private,
            ":max_participants": room.max_participants,
            ":owner": room.owner_id,
            ":created_at": utc::format(room.created_at),
        })
        .map(drop)
}

fn by_name(connection: &Connection, name: &str) -> rusqlite::Result<Option<Room>> {
    connection
        .prepare_cached(&format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r WHERE name = ?1 AND closed_at IS NULL"
        ))?
        .query_row([name], |row| room_at(row, 0))
        .optional()
}
