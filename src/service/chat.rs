//! The chat of a room: who reads and who deletes a message.

use super::app::App;
use super::auth::RoomAccess;
use crate::storage::{Message, Room, StoreError, User};

/// The reason why a message was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteMessageError {
    #[error("only participants use the chat of a room")]
    NotAMember,
    #[error("the room has no such message")]
    NoSuchMessage,
    #[error("only its author, the room's owner and admins delete a message")]
    NotTheAuthor,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Returns the last `limit` messages of a room for a participant, or the last ones before the message `before`;
    /// oldest first. A guest reads those since they joined, unless `rooms.guest_history` is set.
    pub async fn messages(
        &self,
        reader: &User,
        room: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let newcomer = self.newcomer(reader);
        self.store.messages(room, newcomer, before, limit).await
    }

    /// Deletes a message of a room that the caller can see. A participant deletes their own messages; the
    /// room's owner and admins delete every message, also without being participants.
    ///
    /// # Errors
    /// In this order: `NotAMember` before anything about the message, `NoSuchMessage` (also of a message that the
    /// caller cannot read), `NotTheAuthor`.
    pub async fn delete_message(
        &self,
        access: &RoomAccess,
        room: &Room,
        message: i64,
    ) -> Result<(), DeleteMessageError> {
        let caller = &access.caller;
        let is_manager = caller.manages(room);
        if !access.participant && !is_manager {
            return Err(DeleteMessageError::NotAMember);
        }
        let newcomer = self.newcomer(&caller.user);
        let author = self.store.message_author(&room.id, newcomer, message);
        let author = author.await?.ok_or(DeleteMessageError::NoSuchMessage)?;
        let user = &caller.user.id;
        if author != *user && !is_manager {
            return Err(DeleteMessageError::NotTheAuthor);
        }
        self.store.delete_message(&room.id, message).await?;
        if author != *user {
            tracing::info!(
                user,
                author,
                room = room.id,
                id = message,
                "message deleted"
            );
        }
        Ok(())
    }

    /// The id of a guest, from whom messages before their join are hidden.
    fn newcomer<'a>(&self, user: &'a User) -> Option<&'a str> {
        if user.guest.is_none() || self.settings().config.rooms.guest_history {
            return None;
        }
        Some(&user.id)
    }
}
