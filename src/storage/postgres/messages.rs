//! Writes, lists and deletes the chat messages of a room.

use super::call::{Parameters, READ, REPEATABLE_WRITE, Text, WRITE, time};
use super::database::Database;
use crate::storage::rows::message;
use crate::storage::{Message, MessageError, NewMessage, StoreError};

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
        let sql = "SELECT outcome, message, author FROM post_message($1, $2, $3, $4, $5)";
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
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let sql = "SELECT m.id, m.room_id, m.user_id, u.display_name, m.content, m.created_at
                   FROM room_messages m JOIN users u ON u.id = m.user_id
                   WHERE m.room_id = $1 AND m.id < $2 ORDER BY m.id DESC LIMIT $3";
        let before = before.unwrap_or(i64::MAX);
        let parameters: Parameters<'_> = &[&Text(room_id), &before, &i64::from(limit)];
        let mut found = self.query(READ, sql, parameters, message).await?;
        found.reverse();
        Ok(found)
    }

    pub(crate) async fn message_author(
        &self,
        room_id: &str,
        message: i64,
    ) -> Result<Option<String>, StoreError> {
        let sql = "SELECT user_id FROM room_messages WHERE id = $2 AND room_id = $1";
        self.query_opt(READ, sql, &[&Text(room_id), &message], |row| row.try_get(0))
            .await
    }

    pub(crate) async fn delete_message(
        &self,
        room_id: &str,
        message: i64,
    ) -> Result<(), StoreError> {
        let call = REPEATABLE_WRITE.without_doubt();
        let sql = "DELETE FROM room_messages WHERE id = $2 AND room_id = $1";
        self.query(call, sql, &[&Text(room_id), &message], |_| Ok(()))
            .await?;
        Ok(())
    }
}
