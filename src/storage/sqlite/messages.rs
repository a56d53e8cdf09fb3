//! Writes, lists and deletes the chat messages of a room.

use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use super::lookup::{active_user, is_member, room_by_id};
use super::moderation::Audit;
use crate::storage::rows::message;
use crate::storage::utc;
use crate::storage::{
    Cause, JoinError, MAX_DELETED_MESSAGES, Message, MessageError, NewMessage, StoreError,
};

/// The last join of the newcomer ?2 in room ?1. Earlier messages are hidden from them.
const LAST_JOIN: &str = "SELECT joined_at FROM room_participants WHERE room_id = ?1 AND user_id = ?2 AND left_at IS NULL";

/// The query for a page of messages: by room, newcomer, upper limit of the ids, and number. The id of the newcomer's
/// first message keeps the query from reading all messages that are hidden from them.
pub(super) fn page() -> String {
    format!(
        "WITH joined (at) AS ({LAST_JOIN}),
         visible (since, first_id) AS (
            SELECT at, (
                SELECT id FROM room_messages WHERE room_id = ?1 AND created_at >= at
                ORDER BY created_at, id LIMIT 1)
            FROM joined)
         SELECT m.id, m.room_id, m.user_id, u.display_name, m.content, m.created_at
         FROM room_messages m JOIN users u ON u.id = m.user_id
         WHERE m.room_id = ?1 AND m.id < ?3
           AND m.id >= iif(?2 IS NULL, 0, (SELECT first_id FROM visible))
           AND (?2 IS NULL OR m.created_at >= (SELECT since FROM visible))
         ORDER BY m.id DESC LIMIT ?4"
    )
}

/// The query for old messages: by time and number. It visits each room by the index `messages_by_time`.
pub(super) const OLD: &str = "
    SELECT m.id FROM coworking_rooms r
    CROSS JOIN room_messages m ON m.room_id = r.id AND m.created_at < ?1 LIMIT ?2";

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
        newcomer: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let newcomer = newcomer.map(str::to_owned);
        let before = before.unwrap_or(i64::MAX);
        let parameters = (room_id.to_owned(), newcomer, before, limit);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&page())?;
            let found = statement.query_map(parameters, |row| message(row))?;
            let mut found: Vec<Message> = found.collect::<rusqlite::Result<_>>()?;
            found.reverse();
            Ok(found)
        })
        .await
    }

    pub(crate) async fn last_message(&self, room_id: &str) -> Result<i64, StoreError> {
        let room_id = room_id.to_owned();
        let sql = "SELECT coalesce(max(id), 0) FROM room_messages WHERE room_id = ?1";
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row([room_id], |row| row.get(0))
        })
        .await
    }

    pub(crate) async fn messages_after(
        &self,
        room_id: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let parameters = (room_id.to_owned(), after, limit);
        let sql = "SELECT m.id, m.room_id, m.user_id, u.display_name, m.content, m.created_at
                   FROM room_messages m JOIN users u ON u.id = m.user_id
                   WHERE m.room_id = ?1 AND m.id > ?2 ORDER BY m.id LIMIT ?3";
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_map(parameters, |row| message(row))?;
            found.collect()
        })
        .await
    }

    pub(crate) async fn message_author(
        &self,
        room_id: &str,
        newcomer: Option<&str>,
        message: i64,
    ) -> Result<Option<String>, StoreError> {
        let parameters = (room_id.to_owned(), newcomer.map(str::to_owned), message);
        let sql = format!(
            "SELECT user_id FROM room_messages WHERE id = ?3 AND room_id = ?1
               AND (?2 IS NULL OR user_id = ?2 OR created_at >= ({LAST_JOIN}))"
        );
        self.read(move |connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(parameters, |row| row.get(0))
                .optional()
        })
        .await
    }

    pub(crate) async fn delete_message(
        &self,
        room_id: &str,
        message: i64,
        cause: Option<Cause>,
        unix: u64,
    ) -> Result<(), StoreError> {
        let room_id = room_id.to_owned();
        let sql = "DELETE FROM room_messages WHERE id = ?2 AND room_id = ?1 RETURNING user_id";
        self.write(move |connection| {
            let author: Option<String> = connection
                .prepare_cached(sql)?
                .query_row((&room_id, message), |row| row.get(0))
                .optional()?;
            if let Some((author, cause)) = author.zip(cause) {
                Audit::new("delete-message", &room_id, &cause)
                    .of(&author)
                    .with_value(&message.to_string())
                    .insert(connection, unix)?;
            }
            Ok(Ok(()))
        })
        .await
    }

    /// A connection that reads looks for the messages, so that the other writes do not wait for the search.
    pub(crate) async fn delete_old_messages(&self, before: u64) -> Result<bool, StoreError> {
        let before = utc::format(before);
        let old: Vec<i64> = self
            .read(move |connection| {
                let mut statement = connection.prepare_cached(OLD)?;
                let found =
                    statement.query_map((before, MAX_DELETED_MESSAGES), |row| row.get(0))?;
                found.collect()
            })
            .await?;
        if old.is_empty() {
            return Ok(false);
        }
        let may_have_more = old.len() >= MAX_DELETED_MESSAGES as usize;
        self.write(move |connection| {
            let mut delete =
                connection.prepare_cached("DELETE FROM room_messages WHERE id = ?1")?;
            for id in old {
                delete.execute([id])?;
            }
            Ok(Ok(may_have_more))
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

/// Deletes the oldest messages beyond `keep`, at most [`MAX_DELETED_MESSAGES`].
fn delete_all_but_newest(
    connection: &Connection,
    room_id: &str,
    keep: u32,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM room_messages WHERE id IN (
                 SELECT id FROM room_messages WHERE room_id = ?1 AND id <= (
                     SELECT id FROM room_messages WHERE room_id = ?1
                     ORDER BY id DESC LIMIT 1 OFFSET ?2)
                 ORDER BY id LIMIT ?3)",
        )?
        .execute((room_id, keep, MAX_DELETED_MESSAGES))
        .map(drop)
}
