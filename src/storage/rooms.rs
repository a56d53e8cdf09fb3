//! Rooms: found, made, changed and closed.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::participants::is_member_anywhere;
use super::users::{optional_time_at, time_at};
use super::{
    ChangeError, ClosedRoom, CreateError, EndedMembership, NewRoom, Room, RoomChange, RoomQuery,
    Store, StoreError, users, utc,
};
use crate::clock;
use crate::display_name::is_valid_name;
use crate::token::{ROOM_ID_RULE, valid_room_id};

/// The columns that [`room_at`] reads, in its order; the table goes by `r`.
pub(super) const ROOM_COLUMNS: &str =
    "r.id, r.name, r.is_private, r.max_participants, r.owner_id, r.created_at, r.closed_at";

const MAX_ROOM_CAPACITY: u32 = 1_000_000;
/// Open rooms of one user, admins excepted: a list of rooms must stay one.
const MAX_OWNED_ROOMS: u32 = 100;

impl Store {
    /// The room whose id this is (closed ones too), else the open one whose name it is.
    pub async fn room(&self, id_or_name: &str) -> Result<Option<Room>, StoreError> {
        let key = id_or_name.to_owned();
        self.read(move |connection| match by_id(connection, &key)? {
            Some(room) => Ok(Some(room)),
            None => by_name(connection, &key),
        })
        .await
    }

    /// The room whose id this is (closed ones too), then the open one whose name it is: two at most.
    pub async fn find_rooms(&self, id_or_name: &str) -> Result<Vec<Room>, StoreError> {
        let key = id_or_name.to_owned();
        self.read(move |connection| {
            let with_id = by_id(connection, &key)?;
            let other = by_name(connection, &key)?.filter(|room| room.id != key);
            Ok(with_id.into_iter().chain(other).collect())
        })
        .await
    }

    /// All open rooms, by name.
    pub async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        let sql = format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r WHERE closed_at IS NULL ORDER BY name"
        );
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_map((), |row| room_at(row, 0))?.collect()
        })
        .await
    }

    /// How many rooms are open, and how many memberships there are in them.
    pub async fn room_counts(&self) -> Result<(i64, i64), StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT (SELECT count(*) FROM coworking_rooms WHERE closed_at IS NULL),
                        (SELECT count(*) FROM room_participants WHERE left_at IS NULL)",
            )?;
            statement.query_row((), |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    /// The open rooms that somebody gets to see, by name.
    pub async fn visible_rooms(&self, query: RoomQuery) -> Result<Vec<Room>, StoreError> {
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

    pub async fn create_room(&self, new: NewRoom) -> Result<Room, CreateError> {
        let unix = clock::now().unix;
        self.write(move |connection| {
            if let Some(refusal) = check_new_room(connection, &new)? {
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
            };
            insert(connection, &room)?;
            Ok(Ok(room))
        })
        .await
    }

    pub async fn change_room(&self, id: &str, change: RoomChange) -> Result<Room, ChangeError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            let mut room = match by_id(connection, &id)? {
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

    /// Closes a room for good and ends the memberships in it; `None` where there is no such room.
    /// Closing it again changes nothing.
    pub async fn close_room(&self, id: &str, unix: u64) -> Result<Option<ClosedRoom>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| Ok(Ok(close(connection, &id, unix)?)))
            .await
    }
}

/// Closes the room and ends the memberships in it, if it is open.
pub(super) fn close(
    connection: &Connection,
    id: &str,
    unix: u64,
) -> rusqlite::Result<Option<ClosedRoom>> {
    let closed_now = connection
        .prepare_cached(
            "UPDATE coworking_rooms SET closed_at = ?2 WHERE id = ?1 AND closed_at IS NULL",
        )?
        .execute((id, utc::format(unix)))?;
    let ended_memberships = match closed_now {
        0 => Vec::new(),
        _ => end_memberships(connection, id, unix)?,
    };
    let room = by_id(connection, id)?;
    Ok(room.map(|room| ClosedRoom {
        room,
        ended_memberships,
    }))
}

/// Ends the memberships of a room, and says whose they were.
fn end_memberships(
    connection: &Connection,
    room_id: &str,
    unix: u64,
) -> rusqlite::Result<Vec<EndedMembership>> {
    let users: Vec<String> = connection
        .prepare_cached(
            "UPDATE room_participants SET left_at = ?2
             WHERE room_id = ?1 AND left_at IS NULL RETURNING user_id",
        )?
        .query_map((room_id, utc::format(unix)), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    users
        .into_iter()
        .map(|user| {
            Ok(EndedMembership {
                elsewhere: is_member_anywhere(connection, &user)?,
                room: room_id.to_owned(),
                user,
            })
        })
        .collect()
}

/// Why this room cannot be made, if so.
fn check_new_room(connection: &Connection, new: &NewRoom) -> rusqlite::Result<Option<CreateError>> {
    if let Some(id) = &new.id {
        if !valid_room_id(id) {
            return Ok(Some(CreateError::BadId(id.clone(), ROOM_ID_RULE)));
        }
        if by_id(connection, id)?.is_some() {
            return Ok(Some(CreateError::IdTaken(id.clone())));
        }
    }
    if let Some(refusal) = check_name_and_capacity(connection, &new.name, new.max_participants)? {
        return Ok(Some(refusal));
    }
    let Some(id) = &new.owner_id else {
        return Ok(None);
    };
    Ok(match users::by_id(connection, id)? {
        None => Some(CreateError::NoSuchOwner(id.clone())),
        Some(owner) if !owner.admin && owned(connection, id)? >= MAX_OWNED_ROOMS => {
            Some(CreateError::TooManyRooms(MAX_OWNED_ROOMS))
        }
        Some(_) => None,
    })
}

/// Why no room can be called this, or hold so many.
fn check_name_and_capacity(
    connection: &Connection,
    name: &str,
    capacity: Option<u32>,
) -> rusqlite::Result<Option<CreateError>> {
    Ok(match capacity {
        _ if !is_valid_name(name) => Some(CreateError::BadName),
        Some(capacity) if !(1..=MAX_ROOM_CAPACITY).contains(&capacity) => {
            Some(CreateError::BadCapacity(capacity))
        }
        _ if by_name(connection, name)?.is_some() => Some(CreateError::NameTaken(name.to_owned())),
        _ => None,
    })
}

/// The same for a room that exists; it may keep its own name.
fn check_changed_room(
    connection: &Connection,
    room: &Room,
    name: &str,
) -> rusqlite::Result<Option<CreateError>> {
    let refusal = check_name_and_capacity(connection, name, room.max_participants)?;
    let about_name =
        |refusal: &CreateError| matches!(refusal, CreateError::NameTaken(_) | CreateError::BadName);
    Ok(refusal.filter(|refusal| name != room.name || !about_name(refusal)))
}

/// How many open rooms are this user's.
fn owned(connection: &Connection, user_id: &str) -> rusqlite::Result<u32> {
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

pub(super) fn by_id(connection: &Connection, id: &str) -> rusqlite::Result<Option<Room>> {
    connection
        .prepare_cached(&format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r WHERE id = ?1"
        ))?
        .query_row([id], |row| room_at(row, 0))
        .optional()
}

fn by_name(connection: &Connection, name: &str) -> rusqlite::Result<Option<Room>> {
    connection
        .prepare_cached(&format!(
            "SELECT {ROOM_COLUMNS} FROM coworking_rooms r WHERE name = ?1 AND closed_at IS NULL"
        ))?
        .query_row([name], |row| room_at(row, 0))
        .optional()
}

/// Reads [`ROOM_COLUMNS`] from the column `first` on.
pub(super) fn room_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Room> {
    Ok(Room {
        id: row.get(first)?,
        name: row.get(first + 1)?,
        private: row.get(first + 2)?,
        max_participants: row.get(first + 3)?,
        owner_id: row.get(first + 4)?,
        created_at: time_at(row, first + 5)?,
        closed_at: optional_time_at(row, first + 6)?,
    })
}
