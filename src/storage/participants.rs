//! Memberships: who is in which room. A row whose `left_at` is NULL is a member.

use rusqlite::{Connection, OptionalExtension};

use super::invites::InviteUse;
use super::rooms::{ROOM_COLUMNS, room_at};
use super::users::{USER_COLUMN_COUNT, USER_COLUMNS, optional_time_at, time_at, user_at};
use super::{
    Admission, JoinError, JoinGrant, LeaveOutcome, Membership, Participant, Removal, Room, Store,
    StoreError, User,
};
use super::{bans, invites, rooms, users, utc};

/// Members of `?1` at `?2` who count: no expired guests, and no disabled users, whose membership is kept
/// until they are enabled.
const ACTIVE_MEMBERS: &str = "room_participants p JOIN users u ON u.id = p.user_id
    WHERE p.room_id = ?1 AND p.left_at IS NULL AND u.disabled_at IS NULL
      AND (u.guest_until IS NULL OR u.guest_until > ?2)";

impl Store {
    /// Makes the user a member, if the room lets them in. A member who joins again is answered the
    /// same, even in a full room.
    pub async fn join(
        &self,
        room_id: &str,
        user_id: &str,
        grant: JoinGrant,
        unix: u64,
    ) -> Result<Room, JoinError> {
        let (room_id, user_id) = (room_id.to_owned(), user_id.to_owned());
        self.write(move |connection| join(connection, &room_id, &user_id, &grant, unix))
            .await
    }

    /// Ends the membership, if there is one.
    pub async fn leave(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<LeaveOutcome, StoreError> {
        let (room_id, user_id) = (room_id.to_owned(), user_id.to_owned());
        self.write_without_timeout(move |connection| {
            Ok(Ok(end_membership(connection, &room_id, &user_id, unix)?))
        })
        .await
    }

    /// The members of a room, in the order in which they came.
    pub async fn participants(
        &self,
        room_id: &str,
        unix: u64,
    ) -> Result<Vec<Participant>, StoreError> {
        let parameters = (room_id.to_owned(), utc::format(unix));
        let sql = format!(
            "SELECT u.id, u.display_name, p.joined_at, u.guest_until IS NOT NULL
             FROM {ACTIVE_MEMBERS} ORDER BY p.joined_at, u.id"
        );
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let participants = statement.query_map(parameters, |row| {
                Ok(Participant {
                    user_id: row.get(0)?,
                    display_name: row.get(1)?,
                    joined_at: time_at(row, 2)?,
                    guest: row.get(3)?,
                })
            })?;
            participants.collect()
        })
        .await
    }

    /// The open rooms that somebody is a member of, by name.
    pub async fn memberships(&self, user_id: &str) -> Result<Vec<Membership>, StoreError> {
        let user_id = user_id.to_owned();
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT r.id, r.name, p.joined_at
                     FROM room_participants p JOIN coworking_rooms r ON r.id = p.room_id
                     WHERE p.user_id = ?1 AND p.left_at IS NULL AND r.closed_at IS NULL
                     ORDER BY r.name",
                )?
                .query_map([user_id], |row| {
                    Ok(Membership {
                        room_id: row.get(0)?,
                        room_name: row.get(1)?,
                        joined_at: time_at(row, 2)?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// Everything that decides whether this user may connect to this room, in one read.
    pub async fn admission(
        &self,
        room_id: &str,
        user_id: &str,
        unix: u64,
    ) -> Result<Admission, StoreError> {
        /// The number of columns before the user's columns.
        const LEADING_COLUMNS: usize = 7;
        let parameters = (room_id.to_owned(), user_id.to_owned(), utc::format(unix));
        let sql = format!(
            "SELECT u.id IS NOT NULL, r.id IS NOT NULL, p.user_id IS NOT NULL,
                    p.user_id IS NOT NULL AND p.left_at IS NULL,
                    iif(p.kicked_until > ?3, p.kicked_until, NULL),
                    b.user_id IS NOT NULL, b.expires_at, {USER_COLUMNS}, {ROOM_COLUMNS}
             FROM (SELECT ?1 AS room_id, ?2 AS user_id) asked
             LEFT JOIN users u ON u.id = asked.user_id
             LEFT JOIN coworking_rooms r ON r.id = asked.room_id
             LEFT JOIN room_participants p ON p.room_id = r.id AND p.user_id = u.id
             LEFT JOIN room_bans b ON b.room_id = r.id AND b.user_id = u.id
                  AND (b.expires_at IS NULL OR b.expires_at > ?3)"
        );
        self.read(move |connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(parameters, |row| {
                    let (user_known, room_known): (bool, bool) = (row.get(0)?, row.get(1)?);
                    let participant: bool = row.get(3)?;
                    let kicked = optional_time_at(row, 4)?.filter(|_| !participant);
                    let removal = match row.get(5)? {
                        true => Some(Removal::Banned {
                            until: optional_time_at(row, 6)?,
                        }),
                        false => kicked.map(|until| Removal::Kicked { until }),
                    };
                    Ok(Admission {
                        participant,
                        ever_member: row.get(2)?,
                        removal,
                        user: user_known
                            .then(|| user_at(row, LEADING_COLUMNS))
                            .transpose()?,
                        room: room_known
                            .then(|| room_at(row, LEADING_COLUMNS + USER_COLUMN_COUNT))
                            .transpose()?,
                    })
                })
        })
        .await
    }

    /// The seats that guests hold, as `(user id, room id)`.
    pub async fn guest_memberships(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT p.user_id, p.room_id FROM room_participants p
                     JOIN users u ON u.id = p.user_id
                     WHERE p.left_at IS NULL AND u.guest_until IS NOT NULL",
                )?
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .await
    }

    /// Ends the memberships of guests whose time has run out, and names them as
    /// `(user id, room id)`.
    pub async fn end_expired_guests(&self, unix: u64) -> Result<Vec<(String, String)>, StoreError> {
        let now = utc::format(unix);
        self.write_without_timeout(move |connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE room_participants SET left_at = ?1
                 WHERE left_at IS NULL
                   AND user_id IN (SELECT id FROM users WHERE guest_until <= ?1)
                 RETURNING user_id, room_id",
            )?;
            let ended = statement.query_map([&now], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(Ok(ended.collect::<rusqlite::Result<_>>()?))
        })
        .await
    }
}

fn join(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    grant: &JoinGrant,
    unix: u64,
) -> rusqlite::Result<Result<Room, JoinError>> {
    let user = match active_user(connection, user_id, unix)? {
        Ok(user) => user,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // First: hides other rooms from a guest.
    if user
        .guest
        .as_ref()
        .is_some_and(|guest| guest.room_id != room_id)
    {
        return Ok(Err(JoinError::GuestElsewhere));
    }
    let Some(room) = rooms::by_id(connection, room_id)? else {
        return Ok(Err(match grant {
            // The same error as for a private room without a valid invite.
            JoinGrant::Invite(_) => JoinError::BadInvite,
            _ => JoinError::NoSuchRoom,
        }));
    };
    if let Some(refusal) = check_removal(connection, &room, &user, grant, unix)? {
        return Ok(Err(refusal));
    }
    let open = room.closed_at.is_none();
    if open && is_member(connection, room_id, user_id)? {
        return Ok(Ok(room));
    }
    // Before errors that would reveal that the room exists.
    if let Some(refusal) = check_private_room(connection, &room, &user, grant, unix)? {
        return Ok(Err(refusal));
    }
    if !open {
        return Ok(Err(JoinError::RoomClosed));
    }
    if is_full(connection, &room, unix)? {
        return Ok(Err(JoinError::RoomFull));
    }
    connection
        .prepare_cached(
            "INSERT INTO room_participants (room_id, user_id, joined_at) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET joined_at = excluded.joined_at, left_at = NULL,
                 kicked_until = NULL",
        )?
        .execute((room_id, user_id, utc::format(unix)))?;
    Ok(Ok(room))
}

pub(super) fn active_user(
    connection: &Connection,
    user_id: &str,
    unix: u64,
) -> rusqlite::Result<Result<User, JoinError>> {
    Ok(match users::by_id(connection, user_id)? {
        None => Err(JoinError::NoSuchUser),
        Some(user) if user.deleted => Err(JoinError::NoSuchUser),
        Some(user) if user.disabled => Err(JoinError::UserDisabled),
        Some(user) if !user.is_active(unix) => Err(JoinError::GuestExpired),
        Some(user) => Ok(user),
    })
}

/// The ban or kick in force for this user, if any.
fn check_removal(
    connection: &Connection,
    room: &Room,
    user: &User,
    grant: &JoinGrant,
    unix: u64,
) -> rusqlite::Result<Option<JoinError>> {
    Ok(match bans::removal(connection, &room.id, &user.id, unix)? {
        Some(Removal::Banned { until }) => Some(JoinError::Banned { until }),
        Some(Removal::Kicked { .. }) if *grant == JoinGrant::Operator => None,
        Some(Removal::Kicked { until }) => Some(JoinError::Kicked {
            wait: until.saturating_sub(unix),
        }),
        None => None,
    })
}

/// What keeps this user out of a private room, if anything does. An invite is taken only where it
/// is needed. Users who never were in the room get the error of a room that does not exist.
fn check_private_room(
    connection: &Connection,
    room: &Room,
    user: &User,
    grant: &JoinGrant,
    unix: u64,
) -> rusqlite::Result<Option<JoinError>> {
    let open = !room.private || user.guest.is_some() || room.owner_id.as_ref() == Some(&user.id);
    Ok(match grant {
        _ if open => None,
        JoinGrant::Granted | JoinGrant::Operator => None,
        JoinGrant::None if was_member(connection, &room.id, &user.id)? => {
            Some(JoinError::NotInvited)
        }
        JoinGrant::None => Some(JoinError::NoSuchRoom),
        JoinGrant::Invite(text) => {
            match invites::use_invite(connection, Some(&room.id), text, unix)? {
                InviteUse::Accepted { .. } => None,
                InviteUse::Withdrawn => Some(JoinError::Withdrawn),
                InviteUse::Invalid => Some(JoinError::BadInvite),
            }
        }
    })
}

/// Ends the membership, if there is one.
pub(super) fn end_membership(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    unix: u64,
) -> rusqlite::Result<LeaveOutcome> {
    let ended = connection
        .prepare_cached(
            "UPDATE room_participants SET left_at = ?3
             WHERE room_id = ?1 AND user_id = ?2 AND left_at IS NULL",
        )?
        .execute((room_id, user_id, utc::format(unix)))?;
    Ok(LeaveOutcome {
        was_member: ended > 0,
        ever_member: was_member(connection, room_id, user_id)?,
        elsewhere: is_member_anywhere(connection, user_id)?,
    })
}

/// Whether the user is or was a member.
fn was_member(connection: &Connection, room_id: &str, user_id: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM room_participants WHERE room_id = ?1 AND user_id = ?2)",
        )?
        .query_row((room_id, user_id), |row| row.get(0))
}

pub(super) fn is_member(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
) -> rusqlite::Result<bool> {
    let left: Option<bool> = connection
        .prepare_cached(
            "SELECT left_at IS NULL FROM room_participants WHERE room_id = ?1 AND user_id = ?2",
        )?
        .query_row((room_id, user_id), |row| row.get(0))
        .optional()?;
    Ok(left == Some(true))
}

pub(super) fn is_member_anywhere(connection: &Connection, user_id: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM room_participants
                            WHERE user_id = ?1 AND left_at IS NULL)",
        )?
        .query_row([user_id], |row| row.get(0))
}

pub(super) fn is_full(connection: &Connection, room: &Room, unix: u64) -> rusqlite::Result<bool> {
    let Some(capacity) = room.max_participants else {
        return Ok(false);
    };
    let present: u32 = connection
        .prepare_cached(&format!("SELECT count(*) FROM {ACTIVE_MEMBERS}"))?
        .query_row((&room.id, utc::format(unix)), |row| row.get(0))?;
    Ok(present >= capacity)
}
