//! Locks, roles and the audit.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::database::Database;
use super::lookup::{removal, room_by_id, user_by_id};
use super::rooms::owned;
use crate::storage::rows::audit_entry;
use crate::storage::utc;
use crate::storage::{
    AuditEntry, Cause, ChangeError, MAX_OWNED_ROOMS, NewRole, Removal, RoleChange, RoleError,
    RoleOutcome, Room, StoreError,
};

/// An entry of the audit to insert.
pub(super) struct Audit<'a> {
    action: &'a str,
    room: &'a str,
    cause: &'a Cause,
    target: Option<&'a str>,
    /// The end of a ban in Unix seconds.
    pub(super) until: Option<u64>,
    value: Option<&'a str>,
}

impl<'a> Audit<'a> {
    pub(super) fn new(action: &'a str, room: &'a str, cause: &'a Cause) -> Audit<'a> {
        Audit {
            action,
            room,
            cause,
            target: None,
            until: None,
            value: None,
        }
    }

    /// The entry with this user as the target.
    pub(super) fn of(self, user: &'a str) -> Audit<'a> {
        Audit {
            target: Some(user),
            ..self
        }
    }

    /// The entry with this value.
    pub(super) fn with_value(self, value: &'a str) -> Audit<'a> {
        Audit {
            value: Some(value),
            ..self
        }
    }

    pub(super) fn insert(&self, connection: &Connection, unix: u64) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO room_audit
                        (room_id, at, action, actor_id, target_id, reason, until, value)
                 VALUES (:room, :at, :action, :actor, :target, :reason, :until, :value)",
            )?
            .execute(named_params! {
                ":room": self.room,
                ":at": utc::format(unix),
                ":action": self.action,
                ":actor": self.cause.actor(),
                ":target": self.target,
                ":reason": self.cause.reason(),
                ":until": self.until.map(utc::format),
                ":value": self.value,
            })
            .map(drop)
    }
}

impl Database {
    pub(crate) async fn add_mute(
        &self,
        room_id: &str,
        user_id: &str,
        cause: Cause,
        unix: u64,
    ) -> Result<(), StoreError> {
        let (room_id, user_id) = (room_id.to_owned(), user_id.to_owned());
        self.write(move |connection| {
            let audit = Audit::new("mute", &room_id, &cause).of(&user_id);
            audit.insert(connection, unix).map(Ok)
        })
        .await
    }

    pub(crate) async fn lock_room(
        &self,
        room_id: &str,
        locked: bool,
        cause: Cause,
        unix: u64,
    ) -> Result<Room, ChangeError> {
        let room_id = room_id.to_owned();
        self.write_without_timeout(move |connection| {
            let mut room = match room_by_id(connection, &room_id)? {
                None => return Ok(Err(ChangeError::NoSuchRoom)),
                Some(room) if room.closed_at.is_some() => return Ok(Err(ChangeError::RoomClosed)),
                Some(room) => room,
            };
            if room.locked != locked {
                let locked_at = locked.then(|| utc::format(unix));
                connection
                    .prepare_cached("UPDATE coworking_rooms SET locked_at = ?2 WHERE id = ?1")?
                    .execute((&room_id, locked_at))?;
                let action = if locked { "lock" } else { "unlock" };
                Audit::new(action, &room_id, &cause).insert(connection, unix)?;
                room.locked = locked;
            }
            Ok(Ok(room))
        })
        .await
    }

    pub(crate) async fn set_role(
        &self,
        change: RoleChange,
        unix: u64,
    ) -> Result<RoleOutcome, RoleError> {
        self.write_without_timeout(move |connection| {
            let room = match check_role(connection, &change, unix)? {
                Ok(room) => room,
                Err(refusal) => return Ok(Err(refusal)),
            };
            set_role(connection, &room, &change, unix).map(Ok)
        })
        .await
    }

    pub(crate) async fn audit(
        &self,
        room_id: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let parameters = (room_id.to_owned(), before.unwrap_or(i64::MAX), limit);
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT e.id, e.at, e.action, e.actor_id, a.display_name, e.target_id,
                            t.display_name, e.reason, e.until, e.value
                     FROM room_audit e
                     LEFT JOIN users a ON a.id = e.actor_id
                     LEFT JOIN users t ON t.id = e.target_id
                     WHERE e.room_id = ?1 AND e.id < ?2 ORDER BY e.id DESC LIMIT ?3",
                )?
                .query_map(parameters, |row| audit_entry(row))?
                .collect()
        })
        .await
    }
}

/// Returns the room, or the reason why the role cannot be changed.
fn check_role(
    connection: &Connection,
    change: &RoleChange,
    unix: u64,
) -> rusqlite::Result<Result<Room, RoleError>> {
    let room = match room_by_id(connection, &change.room_id)? {
        None => return Ok(Err(RoleError::NoSuchRoom)),
        Some(room) if room.closed_at.is_some() => return Ok(Err(RoleError::RoomClosed)),
        Some(room) => room,
    };
    if change.as_owner && room.owner_id.as_deref() != change.cause.actor() {
        return Ok(Err(RoleError::NotOwner));
    }
    let user = match user_by_id(connection, &change.user_id)? {
        None => return Ok(Err(RoleError::NoSuchUser)),
        Some(user) if user.deleted => return Ok(Err(RoleError::NoSuchUser)),
        Some(user) if user.guest.is_some() => return Ok(Err(RoleError::Guest)),
        Some(user) => user,
    };
    let owns = room.owner_id.as_ref() == Some(&user.id);
    if owns && change.role != NewRole::Owner {
        return Ok(Err(RoleError::LastOwner));
    }
    if change.role == NewRole::Member {
        return Ok(Ok(room));
    }
    if user.disabled {
        return Ok(Err(RoleError::UserDisabled));
    }
    let removal = removal(connection, &room.id, &user.id, unix)?;
    if matches!(removal, Some(Removal::Banned { .. })) {
        return Ok(Err(RoleError::Banned));
    }
    let is_new_owner = change.role == NewRole::Owner && !owns;
    if is_new_owner && !user.admin && owned(connection, &user.id)? >= MAX_OWNED_ROOMS {
        return Ok(Err(RoleError::TooManyRooms(MAX_OWNED_ROOMS)));
    }
    Ok(Ok(room))
}

fn set_role(
    connection: &Connection,
    room: &Room,
    change: &RoleChange,
    unix: u64,
) -> rusqlite::Result<RoleOutcome> {
    let user = &change.user_id;
    if change.role == NewRole::Owner && room.owner_id.as_ref() == Some(user) {
        return Ok(RoleOutcome::default());
    }
    let is_moderator_changed = if change.role == NewRole::Moderator {
        add_moderator(connection, &room.id, user, unix)?
    } else {
        connection
            .prepare_cached("DELETE FROM room_moderators WHERE room_id = ?1 AND user_id = ?2")?
            .execute((&room.id, user))?
            > 0
    };
    if change.role != NewRole::Owner && !is_moderator_changed {
        return Ok(RoleOutcome::default());
    }
    audit_role(connection, change, user, change.role, unix)?;
    let mut former_owner = None;
    if change.role == NewRole::Owner {
        connection
            .prepare_cached("UPDATE coworking_rooms SET owner_id = ?2 WHERE id = ?1")?
            .execute((&room.id, user))?;
        former_owner = undeleted(connection, room.owner_id.as_deref())?;
        if let Some(former) = &former_owner {
            add_moderator(connection, &room.id, former, unix)?;
            audit_role(connection, change, former, NewRole::Moderator, unix)?;
        }
    }
    Ok(RoleOutcome {
        is_changed: true,
        former_owner,
    })
}

/// Names a moderator; false if the user was one.
fn add_moderator(
    connection: &Connection,
    room_id: &str,
    user_id: &str,
    unix: u64,
) -> rusqlite::Result<bool> {
    let added = connection
        .prepare_cached(
            "INSERT INTO room_moderators (room_id, user_id, created_at) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute((room_id, user_id, utc::format(unix)))?;
    Ok(added > 0)
}

fn audit_role(
    connection: &Connection,
    change: &RoleChange,
    user: &str,
    role: NewRole,
    unix: u64,
) -> rusqlite::Result<()> {
    let mut audit = Audit::new("role", &change.room_id, &change.cause).of(user);
    audit.value = Some(role.name());
    audit.insert(connection, unix)
}

/// The id, unless the user was deleted.
fn undeleted(connection: &Connection, id: Option<&str>) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT id FROM users WHERE id = ?1 AND deleted_at IS NULL")?
        .query_row([id], |row| row.get(0))
        .optional()
}
