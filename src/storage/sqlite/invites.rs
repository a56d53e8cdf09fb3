//! Creates, lists, revokes and uses invites.

use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use super::lookup::{active_user, is_full, room_by_id};
use super::users::insert;
use crate::clock;
use crate::display_name::is_valid_name;
use crate::secret::Secret;
use crate::storage::invite_text::{hash, random_text};
use crate::storage::limits::MAX_REVOKED_INVITES;
use crate::storage::rows::active_invite;
use crate::storage::utc;
use crate::storage::{
    ActiveInvite, Guest, Invite, InviteError, MAX_INVITES, NewInvite, Room, StoreError, User,
};

/// An invite that is neither revoked nor used up; the condition of the indices on them.
const OPEN_INVITE: &str = "revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)";

impl Database {
    pub(crate) async fn create_invite(&self, new: NewInvite) -> Result<Invite, InviteError> {
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
            let author = new.created_by.as_deref();
            if let Some(author) = author
                && let Err(refusal) = active_user(connection, author, unix)?
            {
                return Ok(Err(InviteError::Author(refusal)));
            }
            if let Err(refusal) = open_room(connection, &new.room_id)? {
                return Ok(Err(refusal));
            }
            let full = has_too_many(connection, "room_id", Some(&new.room_id), unix)?
                || has_too_many(connection, "created_by", author, unix)?;
            if full {
                return Ok(Err(InviteError::TooMany(MAX_INVITES)));
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
                    utc::format(unix),
                    utc::format(invite.expires_at),
                    new.uses,
                ))?;
            Ok(Ok(invite))
        })
        .await
    }

    pub(crate) async fn invites(
        &self,
        room_id: Option<&str>,
        unix: u64,
        limit: u32,
    ) -> Result<Vec<ActiveInvite>, StoreError> {
        let parameters = (room_id.map(str::to_owned), utc::format(unix), limit);
        let sql = list_sql(room_id.is_some());
        self.read(move |connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(parameters, |row| active_invite(row))?
                .collect()
        })
        .await
    }

    pub(crate) async fn set_invite_expiry(&self, id: &str, unix: u64) -> Result<(), StoreError> {
        let parameters = (id.to_owned(), utc::format(unix));
        self.write(move |connection| {
            connection
                .prepare_cached("UPDATE room_invites SET expires_at = ?2 WHERE id = ?1")?
                .execute(parameters)?;
            Ok(Ok(()))
        })
        .await
    }

    pub(crate) async fn revoke_invite(
        &self,
        room_id: Option<&str>,
        id: &str,
        unix: u64,
    ) -> Result<bool, StoreError> {
        let (room_id, id) = (room_id.map(str::to_owned), id.to_owned());
        self.write(move |connection| {
            let of_this_room: bool = connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM room_invites
                                    WHERE id = ?1 AND room_id = ifnull(?2, room_id))",
                )?
                .query_row((&id, &room_id), |row| row.get(0))?;
            Ok(Ok(of_this_room && revoke(connection, &id, unix)?))
        })
        .await
    }

    pub(crate) async fn redeem_invite(
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
            if !is_valid_name(&display_name) {
                return Ok(Err(InviteError::BadName));
            }
            // First, so that an invalid invite reveals nothing about the room.
            let (invite_id, room_id) =
                match use_invite(connection, room_id.as_deref(), &invite, unix)? {
                    InviteUse::Accepted { id, room_id } => (id, room_id),
                    InviteUse::Revoked => return Ok(Err(InviteError::Revoked)),
                    InviteUse::Invalid => return Ok(Err(InviteError::BadInvite)),
                };
            let room = match open_room(connection, &room_id)? {
                Ok(room) => room,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if room.locked {
                return Ok(Err(InviteError::RoomLocked));
            }
            if is_full(connection, &room, unix)? {
                return Ok(Err(InviteError::RoomFull));
            }
            let place = Guest {
                room_id: room.id,
                until: guest_until,
                invite: Some(invite_id),
            };
            let guest = User::new_guest(place, display_name, unix);
            insert(connection, &guest, None)?;
            Ok(Ok(guest))
        })
        .await
    }
}

pub(super) fn list_sql(of_one_room: bool) -> String {
    let room = if of_one_room {
        "i.room_id = ?1"
    } else {
        "?1 IS NULL"
    };
    format!(
        "SELECT i.id, r.id, r.name, i.created_by, i.created_at, i.expires_at, i.uses_left
         FROM room_invites i CROSS JOIN coworking_rooms r ON r.id = i.room_id
         WHERE {room} AND r.closed_at IS NULL AND i.expires_at > ?2 AND {OPEN_INVITE}
         ORDER BY i.created_at, i.id LIMIT ?3"
    )
}

/// Whether the number of valid invites with this value in this column has reached the limit.
fn has_too_many(
    connection: &Connection,
    column: &'static str,
    value: Option<&str>,
    unix: u64,
) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM room_invites
             WHERE {column} = ?1 AND expires_at > ?2 AND {OPEN_INVITE} LIMIT {MAX_INVITES})"
    );
    let count: u32 = connection
        .prepare_cached(&sql)?
        .query_row((value, utc::format(unix)), |row| row.get(0))?;
    Ok(count >= MAX_INVITES)
}

/// Revokes an invite; false if there is none with this id, or it was revoked before.
pub(super) fn revoke(connection: &Connection, id: &str, unix: u64) -> rusqlite::Result<bool> {
    let room: Option<String> = connection
        .prepare_cached(
            "UPDATE room_invites SET revoked_at = ?2
             WHERE id = ?1 AND revoked_at IS NULL RETURNING room_id",
        )?
        .query_row((id, utc::format(unix)), |row| row.get(0))
        .optional()?;
    if let Some(room) = &room {
        connection
            .prepare_cached(
                "DELETE FROM room_invites WHERE id IN (
                     SELECT id FROM room_invites WHERE room_id = ?1 AND revoked_at IS NOT NULL
                     ORDER BY revoked_at DESC LIMIT -1 OFFSET ?2)",
            )?
            .execute((room, MAX_REVOKED_INVITES))?;
    }
    Ok(room.is_some())
}

/// Revokes the invites that this user created; returns how many of them were valid.
pub(super) fn revoke_all_of(
    connection: &Connection,
    user_id: &str,
    unix: u64,
) -> rusqlite::Result<usize> {
    let sql = format!(
        "UPDATE room_invites SET revoked_at = ?2
         WHERE created_by = ?1 AND expires_at > ?2 AND {OPEN_INVITE}"
    );
    connection
        .prepare_cached(&sql)?
        .execute((user_id, utc::format(unix)))
}

/// The result of using an invite.
pub(super) enum InviteUse {
    /// The invite was valid; one use is taken.
    Accepted {
        id: String,
        room_id: String,
    },
    /// The invite would be valid if it had not been revoked.
    Revoked,
    Invalid,
}

/// Takes one use of the invite if it is valid now and for `room_id`.
pub(super) fn use_invite(
    connection: &Connection,
    room_id: Option<&str>,
    text: &str,
    unix: u64,
) -> rusqlite::Result<InviteUse> {
    let parameters = (hash(text), room_id, utc::format(unix));
    let taken = connection
        .prepare_cached(
            "UPDATE room_invites SET uses_left = uses_left - 1
             WHERE hash = ?1 AND room_id = ifnull(?2, room_id) AND expires_at > ?3
               AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)
             RETURNING id, room_id",
        )?
        .query_row(parameters.clone(), |row| {
            let (id, room_id) = (row.get(0)?, row.get(1)?);
            Ok(InviteUse::Accepted { id, room_id })
        })
        .optional()?;
    if let Some(taken) = taken {
        return Ok(taken);
    }
    let is_revoked: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM room_invites
                 WHERE hash = ?1 AND room_id = ifnull(?2, room_id) AND expires_at > ?3
                   AND revoked_at IS NOT NULL)",
        )?
        .query_row(parameters, |row| row.get(0))?;
    Ok(if is_revoked {
        InviteUse::Revoked
    } else {
        InviteUse::Invalid
    })
}

fn open_room(connection: &Connection, id: &str) -> rusqlite::Result<Result<Room, InviteError>> {
    Ok(match room_by_id(connection, id)? {
        None => Err(InviteError::NoSuchRoom),
        Some(room) if room.closed_at.is_some() => Err(InviteError::RoomClosed),
        Some(room) => Ok(room),
    })
}
