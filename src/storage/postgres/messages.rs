//! Writes, lists and deletes the chat messages of a room.

use super::call::{LONG_WRITE, Parameters, READ, REPEATABLE_WRITE, Text, WRITE, time};
use super::database::Database;
use crate::storage::rows::message;
use crate::storage::{Cause, MAX_DELETED_MESSAGES, Message, MessageError, NewMessage, StoreError};

/// The last join of the newcomer $2 in room $1. Earlier messages are hidden from them.
const LAST_JOIN: &str = "SELECT joined_at FROM room_participants WHERE room_id = $1 AND user_id = $2 AND left_at IS NULL";

/// Deletes old messages, by time and number. It visits each room by the index `messages_by_time`, and the found messages
/// by their ids: an array, because the planner joins a subquery with the whole table. Another node may be deleting some
/// of the messages.
pub(super) const DELETE_OLD: &str = "
    DELETE FROM room_messages WHERE id = ANY (ARRAY (
        SELECT old.id FROM coworking_rooms r CROSS JOIN LATERAL (
            SELECT id FROM room_messages WHERE room_id = r.id AND created_at < $1
            ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED) old
        LIMIT $2))
    RETURNING id";

impl Database {
    pub(crate) async fn post_message(
        &self,
        new: NewMessage,
        keep: u32,
        unix: u64,
    ) -> Result<Message, MessageError> {
        if !new.has_valid_content() {
            return Err(MessageError::BadContent);
        }
        // Posts to one room wait for each other, so that their ids become visible in order: a reader of the messages
        // after an id misses none. The event has no content: other nodes read the message.
        let sql = "WITH locked AS MATERIALIZED (
                       SELECT 0::bigint AS zero FROM pg_advisory_xact_lock(hashtextextended($1, 0))), posted AS MATERIALIZED (
                       SELECT outcome, message, author
                       FROM locked, LATERAL post_message($1, $2, $3, $4 + zero, $5)),
                   event AS (
                       INSERT INTO events (kind, room_id)
                       SELECT 'message-posted', $1 FROM posted WHERE outcome = 'done')
                   SELECT outcome, message, author FROM posted";
        let parameters: Parameters<'_> = &[
            &Text(&new.room_id),
            &Text(&new.user_id),
            &Text(&new.content),
            &i64::from(keep),
            &time(unix),
        ];
        let posted = self
            .query_one(WRITE.without_doubt(), sql, parameters, |row| {
                let outcome: String = row.try_get(0)?;
                if outcome != "done" {
                    return Ok(Err(outcome));
                }
                Ok(Ok((row.try_get(1)?, row.try_get(2)?)))
            })
            .await?;
        match posted {
            Ok((id, display_name)) => Ok(Message {
                id,
                room_id: new.room_id,
                user_id: new.user_id,
                display_name,
                content: new.content,
                created_at: unix,
            }),
            Err(outcome) if outcome == "not-a-member" => Err(MessageError::NotAMember),
            Err(outcome) => Err(MessageError::Author(self.join_error(&outcome))),
        }
    }

    pub(crate) async fn messages(
        &self,
        room_id: &str,
        newcomer: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        // The id of the newcomer's first message keeps the query from reading all messages that are hidden from them.
        let visible = match newcomer {
            None => "$2::text IS NULL".to_owned(),
            Some(_) => format!(
                "m.created_at >= ({LAST_JOIN}) AND m.id >= (
                     SELECT id FROM room_messages WHERE room_id = $1 AND created_at >= ({LAST_JOIN})
                     ORDER BY created_at, id LIMIT 1)"
            ),
        };
        let sql = format!(
            "SELECT m.id, m.room_id, m.user_id, u.display_name, m.content, m.created_at
             FROM room_messages m JOIN users u ON u.id = m.user_id
             WHERE m.room_id = $1 AND m.id < $3 AND {visible}
             ORDER BY m.id DESC LIMIT $4"
        );
        let parameters: Parameters<'_> = &[
            &Text(room_id),
            &newcomer.map(Text),
            &before.unwrap_or(i64::MAX),
            &i64::from(limit),
        ];
        let mut found = self.query(READ, &sql, parameters, message).await?;
        found.reverse();
        Ok(found)
    }

    pub(crate) async fn last_message(&self, room_id: &str) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(id), 0) FROM room_messages WHERE room_id = $1";
        self.query_one(READ, sql, &[&Text(room_id)], |row| row.try_get(0))
            .await
    }

    pub(crate) async fn messages_after(
        &self,
        room_id: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let sql = "SELECT m.id, m.room_id, m.user_id, u.display_name, m.content, m.created_at
                   FROM room_messages m JOIN users u ON u.id = m.user_id
                   WHERE m.room_id = $1 AND m.id > $2 ORDER BY m.id LIMIT $3";
        let parameters: Parameters<'_> = &[&Text(room_id), &after, &i64::from(limit)];
        self.query(READ, sql, parameters, message).await
    }

    pub(crate) async fn message_author(
        &self,
        room_id: &str,
        newcomer: Option<&str>,
        message: i64,
    ) -> Result<Option<String>, StoreError> {
        let sql = format!(
            "SELECT user_id FROM room_messages WHERE id = $3 AND room_id = $1
               AND ($2::text IS NULL OR user_id = $2 OR created_at >= ({LAST_JOIN}))"
        );
        let parameters: Parameters<'_> = &[&Text(room_id), &newcomer.map(Text), &message];
        self.query_opt(READ, &sql, parameters, |row| row.try_get(0))
            .await
    }

    pub(crate) async fn delete_message(
        &self,
        room_id: &str,
        message: i64,
        cause: Option<Cause>,
        unix: u64,
    ) -> Result<(), StoreError> {
        let call = REPEATABLE_WRITE.without_doubt();
        let sql = "WITH deleted AS (
                       DELETE FROM room_messages WHERE id = $2 AND room_id = $1 RETURNING user_id),
                   event AS (
                       INSERT INTO events (kind, room_id, data)
                       SELECT 'message-deleted', $1, jsonb_build_object('message', $2::bigint) FROM deleted)
                   SELECT add_audit(
                       $1, 'delete-message', $4, user_id, $5, NULL, $2::bigint::text, $6)
                   FROM deleted WHERE $3";
        let parameters: Parameters<'_> = &[
            &Text(room_id),
            &message,
            &cause.is_some(),
            &cause.as_ref().and_then(Cause::actor).map(Text),
            &cause.as_ref().and_then(Cause::reason).map(Text),
            &time(unix),
        ];
        self.query(call, sql, parameters, |_| Ok(())).await?;
        Ok(())
    }

    pub(crate) async fn delete_old_messages(&self, before: u64) -> Result<bool, StoreError> {
        let call = LONG_WRITE.without_doubt();
        let parameters: Parameters<'_> = &[&time(before), &i64::from(MAX_DELETED_MESSAGES)];
        let deleted = self.query(call, DELETE_OLD, parameters, |_| Ok(())).await?;
        Ok(deleted.len() >= MAX_DELETED_MESSAGES as usize)
    }
}
