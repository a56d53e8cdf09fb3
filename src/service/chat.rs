//! The chat of a room: who may delete a message.

use super::app::App;
use super::auth::RoomAccess;
use crate::storage::{Room, StoreError};

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
    /// Deletes a message of a room that the caller can see. A participant deletes their own messages; the
    /// room's owner and admins delete every message, also without being participants.
    ///
    /// # Errors
    /// In this order: `NotAMember` before anything about the message, `NoSuchMessage`, `NotTheAuthor`.
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
        let author = self.store.message_author(&room.id, message).await?;
        let author = author.ok_or(DeleteMessageError::NoSuchMessage)?;
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
}
