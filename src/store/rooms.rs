//! Rooms: found and made.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::users::{optional_time_at, time_at, valid_name};
use super::{CreateError, NewRoom, Room, Store, StoreError, users, utc};
use crate::clock;
use crate::token::valid_id;

/// The columns that [`room_at`] reads, in its order; the table goes by `r`.
pub(super) const ROOM: &str =
    "r.id, r.name, r.is_private, r.max_participants, r.owner_id, r.created_at, r.closed_at";

const MAX_CAPACITY: u32 = 1_000_000;

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
    pub async fn rooms_called(&self, id_or_name: &str) -> Result<Vec<Room>, StoreError> {
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
        let sql =
            format!("SELECT {ROOM} FROM coworking_rooms r WHERE closed_at IS NULL ORDER BY name");
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_map((), |row| room_at(row, 0))?.collect()
        })
        .await
    }

    pub async fn create_room(&self, new: NewRoom) -> Result<Room, CreateError> {
        let unix = clock::now().unix;
        self.write(move |connection| {
            if let Some(refusal) = refusal(connection, &new)? {
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
}

/// Why this room cannot be made, if so.
fn refusal(connection: &Connection, new: &NewRoom) -> rusqlite::Result<Option<CreateError>> {
    if let Some(id) = &new.id {
        if !valid_id(id) {
            return Ok(Some(CreateError::BadId(id.clone())));
        }
        if by_id(connection, id)?.is_some() {
            return Ok(Some(CreateError::IdTaken(id.clone())));
        }
    }
    if !valid_name(&new.name) {
        return Ok(Some(CreateError::BadName));
    }
    if by_name(connection, &new.name)?.is_some() {
        return Ok(Some(CreateError::NameTaken(new.name.clone())));
    }
    if let Some(capacity) = new.max_participants
        && !(1..=MAX_CAPACITY).contains(&capacity)
    {
        return Ok(Some(CreateError::BadCapacity(capacity)));
    }
    match &new.owner_id {
        Some(owner) if users::by_id(connection, owner)?.is_none() => {
            Ok(Some(CreateError::NoSuchOwner(owner.clone())))
        }
        _ => Ok(None),
    }
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
            ":created_at": utc::text(room.created_at),
        })
        .map(drop)
}

pub(super) fn by_id(connection: &Connection, id: &str) -> rusqlite::Result<Option<Room>> {
    connection
        .prepare_cached(&format!(
            "SELECT {ROOM} FROM coworking_rooms r WHERE id = ?1"
        ))?
        .query_row([id], |row| room_at(row, 0))
        .optional()
}

fn by_name(connection: &Connection, name: &str) -> rusqlite::Result<Option<Room>> {
    connection
        .prepare_cached(&format!(
            "SELECT {ROOM} FROM coworking_rooms r WHERE name = ?1 AND closed_at IS NULL"
        ))?
        .query_row([name], |row| room_at(row, 0))
        .optional()
}

/// Reads [`ROOM`] from the column `first` on.
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
