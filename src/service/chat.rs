//! The chat of a room: who reads and who deletes a message.

use super::app::App;
use super::auth::RoomAccess;
use super::moderation::rules::{Act, Refusal, Standing, check_act};
use crate::bus::Event;
use crate::clock;
use crate::rate::KeyedLimiter;
use crate::storage::{Cause, Message, MessageError, NewMessage, Room, StoreError, User};

/// The reason why a message was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteMessageError {
    #[error("only participants use the chat of a room")]
    NotAMember,
    #[error("the room has no such message")]
    NoSuchMessage,
    /// The message is of another user.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the caller has moderated too often; try again later")]
    TooMany,
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

    /// Stores a message of a participant.
    pub async fn post_message(&self, new: NewMessage) -> Result<Message, MessageError> {
        let keep = self.settings().config.rooms.max_messages;
        let event = |message: &Message| {
            Some(Event::MessagePosted {
                room: message.room_id.clone(),
            })
        };
        let change = self.store.post_message(new, keep, clock::now().unix);
        let (message, _) = self.commit(self.order.shared(), change, event).await?;
        Ok(message)
    }

    /// Deletes a message of a room that the caller can see. A participant deletes their own messages; moderators those
    /// of members and guests, the owner and admins every one, also without being participants. The audit has the
    /// deletion of another user's message, which counts towards the `moderators` limit.
    ///
    /// # Errors
    /// In this order: `NotAMember` before anything about the message, `NoSuchMessage` (also of a message that the
    /// caller cannot read), `Refused`, `TooMany`.
    pub async fn delete_message(
        &self,
        access: &RoomAccess,
        room: &Room,
        message: i64,
        moderators: &KeyedLimiter,
    ) -> Result<(), DeleteMessageError> {
        let actor = access.actor(room);
        if !access.participant && actor.standing < Standing::Moderator {
            return Err(DeleteMessageError::NotAMember);
        }
        let now = clock::now();
        let unix = now.unix;
        let newcomer = self.newcomer(&access.caller.user);
        let author = self.store.message_author(&room.id, newcomer, message);
        let author = author.await?.ok_or(DeleteMessageError::NoSuchMessage)?;
        if author == actor.user {
            self.delete(&room.id, message, None, unix).await?;
            return Ok(());
        }
        let (_, standing) = self.standing(&room.id, &author).await?;
        let target = standing.map(|standing| (standing, false));
        check_act(actor.standing, Act::DeleteMessage, target)?;
        if !moderators.take(&actor.user, now.mono) {
            return Err(DeleteMessageError::TooMany);
        }
        let cause = Some(Cause::of_user(&actor.user));
        self.delete(&room.id, message, cause, unix).await?;
        tracing::info!(
            user = actor.user,
            author,
            room = room.id,
            id = message,
            "message deleted"
        );
        Ok(())
    }

    async fn delete(
        &self,
        room: &str,
        id: i64,
        cause: Option<Cause>,
        unix: u64,
    ) -> Result<(), StoreError> {
        let event = |&(): &()| {
            let room = room.to_owned();
            Some(Event::MessageDeleted { room, id })
        };
        let change = self.store.delete_message(room, id, cause, unix);
        self.commit(self.order.shared(), change, event).await?;
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
