//! Writes, lists and deletes the chat messages of a room.

use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use super::lookup::{active_user, is_member, room_by_id};
use crate::storage::rows::message;
use crate::storage::utc;
use crate::storage::{JoinError, Message, MessageError, NewMessage, StoreError};

impl Database {
    pub(crate) async fn post_message(
        &self,
        new: NewMessage,
        keep: u32,
        unix: u64,
    ) -> Result<Message, MessageError> {
        self.write(move |connection| {
            if !new.has_valid_content() {
                return Ok(Err(MessageError::BadContent));
            }
            let display_name = match author(connection, &new.room_id, &new.user_id, unix)? {
                Ok(name) => name,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let id = insert(connection, &new, unix)?;
            if keep > 0 {
                delete_all_but_newest(connection, &new.room_id, keep)?;
            }
            Ok(Ok(Message {
                id,
                room_id: new.room_id,
                user_id: new.user_id,
                display_name,
                content: new.content,
                created_at: unix,
            }))
        })
        .await
    }

    pub(crate) async fn messages(
        &self,
        room_id: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let parameters = (room_id.to_owned(), before.unwrap_or(i64::MAX), limit);
        let sql = "SELECT m.id, m.room_id, m.user_id, u.display_name, m.content, m.created_at
                   FROM room_messages m JOIN users u ON u.id = m.user_id
                   WHERE m.room_id = ?1 AND m.id < ?2 ORDER BY m.id DESC LIMIT ?3";
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_map(parameters, |row| message(row))?;
            let mut found: Vec<Message> = found.collect::<rusqlite::Result<_>>()?;
            found.reverse();
            Ok(found)
        })
        .await
    }

    pub(crate) async fn message_author(
        &self,
        room_id: &str,
        message: i64,
    ) -> Result<Option<String>, StoreError> {
        let room_id = room_id.to_owned();
        let sql = "SELECT user_id FROM room_messages WHERE id = ?2 AND room_id = ?1";
        self.read(move |connection| {
            connection
                .prepare_cached(sql)?
                .query_row((room_id, message), |row| row.get(0))
                .optional()
        })
        .await
    }

    pub(crate) async fn delete_message(
        &self,
        room_id: &str,
        message: i64,
    ) -> Result<(), StoreError> {
        let room_id = room_id.to_owned();
        let sql = "DELETE FROM room_messages WHERE id = ?2 AND room_id = ?1";
        self.write(move |connection| {
            connection
                .prepare_cached(sql)?
                .execute((room_id, message))?;
            Ok(Ok(()))
        })
        .await
    }
}

/// Returns the display name of the author if they may write in the room.
fn author(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    unix: u64,
) -> rusqlite::Result<Result<String, MessageError>> {
    let user = match active_user(connection, user_id, unix)? {
        Ok(user) => user,
        Err(refusal) => return Ok(Err(MessageError::Author(refusal))),
    };
    Ok(match room_by_id(connection, room_id)? {
        None => Err(MessageError::Author(JoinError::NoSuchRoom)),
        Some(room) if room.closed_at.is_some() => Err(MessageError::Author(JoinError::RoomClosed)),
        Some(_) if is_member(connection, room_id, user_id)? => Ok(user.display_name),
        Some(_) => Err(MessageError::NotAMember),
    })
}

fn insert(connection: &Connection, new: &NewMessage, unix: u64) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO room_messages (room_id, user_id, content, created_at)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((&new.room_id, &new.user_id, &new.content, utc::format(unix)))?;
    Ok(connection.last_insert_rowid())
}

fn delete_all_but_newest(
    connection: &Connection,
    room_id: &str,
    keep: u32,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM room_messages WHERE room_id = ?1 AND id <= (
                 SELECT id FROM room_messages WHERE room_id = ?1
                 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute((room_id, keep))
        .map(drop)
}
