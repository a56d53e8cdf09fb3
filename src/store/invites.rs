//! Invites: text that opens one room, for a while and perhaps a number of times. The store keeps
//! the SHA-256 of it; 192 random bits need no slower hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, OptionalExtension};

use super::users::{insert, time_at, valid_name};
use super::{
    Guest, Invite, InviteError, LivingInvite, NewInvite, Room, Store, StoreError, User,
    participants, rooms, utc,
};
use crate::clock;
use crate::secret::Secret;

const RANDOM_BYTES: usize = 24;

impl Store {
    pub async fn create_invite(&self, new: NewInvite) -> Result<Invite, InviteError> {
        let unix = clock::now().unix;
        let invite = Invite {
            id: uuid::Uuid::new_v4().to_string(),
            text: Secret::new(random_text()),
            expires_at: unix.saturating_add(new.ttl.as_secs()),
        };
        self.write(move |connection| {
            if new.uses == Some(0) {
                return Ok(Err(InviteError::NoUses));
            }
            if let Err(refusal) = open_room(connection, &new.room_id)? {
                return Ok(Err(refusal));
            }
            connection
                .prepare_cached(
                    "INSERT INTO room_invites
                            (id, room_id, hash, created_by, created_at, expires_at, uses_left)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute((
                    &invite.id,
                    &new.room_id,
                    hash(invite.text.expose()),
                    &new.created_by,
                    utc::text(unix),
                    utc::text(invite.expires_at),
                    new.uses,
                ))?;
            Ok(Ok(invite))
        })
        .await
    }

    /// The invites that still open a room, or this room alone; oldest first.
    pub async fn invites(
        &self,
        room_id: Option<&str>,
        unix: u64,
    ) -> Result<Vec<LivingInvite>, StoreError> {
        let parameters = (room_id.map(str::to_owned), utc::text(unix));
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT i.id, r.id, r.name, i.created_by, i.created_at, i.expires_at, i.uses_left
                     FROM room_invites i JOIN coworking_rooms r ON r.id = i.room_id
                     WHERE (?1 IS NULL OR r.id = ?1) AND r.closed_at IS NULL
                       AND i.expires_at > ?2 AND (i.uses_left IS NULL OR i.uses_left > 0)
                     ORDER BY i.created_at, i.id",
                )?
                .query_map(parameters, |row| {
                    Ok(LivingInvite {
                        id: row.get(0)?,
                        room_id: row.get(1)?,
                        room_name: row.get(2)?,
                        created_by: row.get(3)?,
                        created_at: time_at(row, 4)?,
                        expires_at: time_at(row, 5)?,
                        uses_left: row.get(6)?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// Makes an invite open nothing any more; false where there is none of this id.
    pub async fn revoke_invite(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |connection| {
            let revoked = connection
                .prepare_cached("DELETE FROM room_invites WHERE id = ?1")?
                .execute([&id])?;
            Ok(Ok(revoked > 0))
        })
        .await
    }

    /// Makes a guest of whoever brings the invite. The guest belongs to the room until
    /// `guest_until`, but is no member before joining.
    pub async fn redeem_invite(
        &self,
        room_id: Option<&str>,
        invite: &str,
        display_name: &str,
        unix: u64,
        guest_until: u64,
    ) -> Result<User, InviteError> {
        let (room_id, invite) = (room_id.map(str::to_owned), invite.to_owned());
        let display_name = display_name.trim().to_owned();
        self.write(move |connection| {
            if !valid_name(&display_name) {
                return Ok(Err(InviteError::BadName));
            }
            // Before anything else is told about the room.
            let Some(room_id) = take(connection, room_id.as_deref(), &invite, unix)? else {
                return Ok(Err(InviteError::BadInvite));
            };
            let room = match open_room(connection, &room_id)? {
                Ok(room) => room,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if participants::is_full(connection, &room, unix)? {
                return Ok(Err(InviteError::RoomFull));
            }
            let guest = new_guest(room.id, display_name, unix, guest_until);
            insert(connection, &guest, None)?;
            Ok(Ok(guest))
        })
        .await
    }

    /// Forgets invites that expired and guests whose time ran out before `unix`, so that neither
    /// piles up. Guests who have written something stay, as its author.
    pub async fn forget_expired(&self, unix: u64) -> Result<(), StoreError> {
        let before = utc::text(unix);
        self.write(move |connection| {
            for forget in FORGET {
                connection.prepare_cached(forget)?.execute([&before])?;
            }
            Ok(Ok(()))
        })
        .await
    }
}

const FORGET: [&str; 3] = [
    "DELETE FROM room_invites WHERE expires_at < ?1",
    "DELETE FROM room_participants
     WHERE user_id IN (SELECT id FROM users WHERE guest_until < ?1)",
    "DELETE FROM users WHERE guest_until < ?1
       AND NOT EXISTS (SELECT 1 FROM room_messages WHERE user_id = users.id)
       AND NOT EXISTS (SELECT 1 FROM room_bans WHERE user_id = users.id)",
];

fn new_guest(room_id: String, display_name: String, unix: u64, until: u64) -> User {
    let id = uuid::Uuid::new_v4().to_string();
    User {
        name: id.clone(),
        id,
        display_name,
        admin: false,
        disabled: false,
        deleted: false,
        guest: Some(Guest { room_id, until }),
        created_at: unix,
    }
}

/// Revokes what this user has made; how many there were.
pub(super) fn revoke_all_of(connection: &Connection, user_id: &str) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM room_invites WHERE created_by = ?1")?
        .execute([user_id])
}

/// Takes one use of the invite and gives its room; `None` where it is not good now, or not for `room_id`.
pub(super) fn take(
    connection: &Connection,
    room_id: Option<&str>,
    text: &str,
    unix: u64,
) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(
            "UPDATE room_invites SET uses_left = uses_left - 1
             WHERE hash = ?1 AND room_id = ifnull(?2, room_id) AND expires_at > ?3
               AND (uses_left IS NULL OR uses_left > 0)
             RETURNING room_id",
        )?
        .query_row((hash(text), room_id, utc::text(unix)), |row| row.get(0))
        .optional()
}

fn open_room(connection: &Connection, id: &str) -> rusqlite::Result<Result<Room, InviteError>> {
    Ok(match rooms::by_id(connection, id)? {
        None => Err(InviteError::NoSuchRoom),
        Some(room) if room.closed_at.is_some() => Err(InviteError::RoomClosed),
        Some(room) => Ok(room),
    })
}

fn hash(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .to_vec()
}

fn random_text() -> String {
    let mut bytes = [0; RANDOM_BYTES];
    // Linux has no way to fail here once it is up; a predictable invite would be worse than none.
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system gives out random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}
