//! Users: found, made, disabled; their tombstones.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{
    CreateError, EndedMembership, Guest, NewUser, RevocationList, Store, StoreError, TokenCutoff,
    User, utc,
};
use crate::clock;
use crate::display_name::{self, is_valid_name};
use crate::token::{USER_ID_RULE, valid_user_id};

/// The columns that [`user_at`] reads, in its order; the table goes by `u`.
pub(super) const USER_COLUMNS: &str = "u.id, u.name, u.display_name, u.is_admin, \
    u.disabled_at IS NOT NULL, u.deleted_at IS NOT NULL, u.guest_room_id, u.guest_until, \
    u.created_at, u.invite_id, u.token_generation, u.tokens_from";
pub(super) const USER_COLUMN_COUNT: usize = 12;

impl Store {
    /// The user whose id this is, then the one whose name it is: two at most, since nothing keeps
    /// the name of one from being the id of another. Ids find disabled users and tombstones too,
    /// names neither tombstones nor guests.
    pub async fn find_users(&self, id_or_name: &str) -> Result<Vec<User>, StoreError> {
        let key = id_or_name.to_owned();
        self.read(move |connection| {
            let with_id = by_id(connection, &key)?;
            let other = by_name(connection, &key)?.filter(|user| user.id != key);
            Ok(with_id.into_iter().chain(other).collect())
        })
        .await
    }

    /// The user whose name this is, and what their password is kept as; for whoever logs in.
    pub async fn login(&self, name: &str) -> Result<Option<(User, Option<String>)>, StoreError> {
        let name = name.to_owned();
        let sql = format!(
            "SELECT {USER_COLUMNS}, u.password_hash FROM users u
             WHERE name = ?1 AND guest_until IS NULL AND deleted_at IS NULL"
        );
        self.read(move |connection| {
            connection
                .prepare_cached(&sql)?
                .query_row([name], |row| {
                    Ok((user_at(row, 0)?, row.get(USER_COLUMN_COUNT)?))
                })
                .optional()
        })
        .await
    }

    /// All users but guests and the deleted, by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let sql = format!(
            "SELECT {USER_COLUMNS} FROM users u
             WHERE guest_until IS NULL AND deleted_at IS NULL ORDER BY name"
        );
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_map((), |row| user_at(row, 0))?.collect()
        })
        .await
    }

    /// Makes a user with a fresh id.
    pub async fn add_user(&self, new: NewUser) -> Result<User, CreateError> {
        let unix = clock::now().unix;
        self.write(move |connection| {
            let display_name = new.display_name.as_deref().unwrap_or(&new.name);
            if !is_valid_name(&new.name) || !is_valid_name(display_name) {
                return Ok(Err(CreateError::BadName));
            }
            if by_name(connection, &new.name)?.is_some() {
                return Ok(Err(CreateError::NameTaken(new.name)));
            }
            let user = User {
                id: uuid::Uuid::new_v4().to_string(),
                name: new.name.clone(),
                display_name: display_name.to_owned(),
                admin: new.admin,
                disabled: false,
                deleted: false,
                guest: None,
                token_cutoff: TokenCutoff::default(),
                created_at: unix,
            };
            insert(connection, &user, new.password_hash.as_deref())?;
            Ok(Ok(user))
        })
        .await
    }

    /// Whether a user can log in by a password.
    pub async fn has_password(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM users
                                    WHERE id = ?1 AND password_hash IS NOT NULL)",
                )?
                .query_row([id], |row| row.get(0))
        })
        .await
    }

    /// Sets a user's password, as PHC text, and ends their tokens; `None` if the user does not exist or
    /// was deleted.
    pub async fn set_password(
        &self,
        id: &str,
        hash: &str,
        unix: u64,
    ) -> Result<Option<User>, StoreError> {
        let (id, hash) = (id.to_owned(), hash.to_owned());
        self.write_without_timeout(move |connection| {
            let set = connection
                .prepare_cached(
                    "UPDATE users SET password_hash = ?2
                     WHERE id = ?1 AND deleted_at IS NULL AND guest_until IS NULL",
                )?
                .execute((&id, hash))?;
            if set == 0 {
                return Ok(Ok(None));
            }
            end_tokens(connection, &id, unix)?;
            Ok(Ok(by_id(connection, &id)?))
        })
        .await
    }

    /// Ends all tokens of a user or guest; `None` if the user does not exist or was deleted.
    pub async fn sign_out(&self, id: &str, unix: u64) -> Result<Option<User>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            end_tokens(connection, &id, unix)?;
            Ok(Ok(by_id(connection, &id)?.filter(|user| !user.deleted)))
        })
        .await
    }

    /// The user with this id, made if there is none: for tokens of an issuer who knows users that
    /// the store does not. `display_name` is what the token calls them.
    pub async fn provision(
        &self,
        id: &str,
        display_name: Option<&str>,
    ) -> Result<User, CreateError> {
        let id = id.to_owned();
        let display_name = display_name.and_then(display_name::sanitize);
        let display_name = display_name.unwrap_or_else(|| id.clone());
        let unix = clock::now().unix;
        self.write(move |connection| {
            if !valid_user_id(&id) {
                return Ok(Err(CreateError::BadId(id, USER_ID_RULE)));
            }
            match by_id(connection, &id)? {
                Some(user) if user.deleted => return Ok(Err(CreateError::Deleted(id))),
                Some(user) => return Ok(Ok(user)),
                None => {}
            }
            let user = User {
                name: free_name(connection, &id)?,
                id,
                display_name,
                admin: false,
                disabled: false,
                deleted: false,
                guest: None,
                token_cutoff: TokenCutoff::default(),
                created_at: unix,
            };
            insert(connection, &user, None)?;
            Ok(Ok(user))
        })
        .await
    }

    /// Whom the relay must turn away, the banned included. How long ago does not matter: nobody knows until when a
    /// credential was minted, or by whom.
    pub async fn revocations(&self, unix: u64) -> Result<RevocationList, StoreError> {
        let now = utc::format(unix);
        self.read(move |connection| {
            let ids = |sql: &str| -> rusqlite::Result<Vec<String>> {
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_map((), |row| row.get(0))?.collect()
            };
            let mut ended_memberships = connection.prepare_cached(
                "SELECT user_id, room_id, EXISTS (
                     SELECT 1 FROM room_participants e
                     WHERE e.user_id = p.user_id AND e.left_at IS NULL)
                 FROM room_participants p WHERE left_at IS NOT NULL
                 UNION
                 SELECT user_id, room_id, EXISTS (
                     SELECT 1 FROM room_participants e
                     WHERE e.user_id = b.user_id AND e.left_at IS NULL)
                 FROM room_bans b WHERE expires_at IS NULL OR expires_at > ?1",
            )?;
            let departure = |row: &rusqlite::Row<'_>| {
                Ok(EndedMembership {
                    user: row.get(0)?,
                    room: row.get(1)?,
                    elsewhere: row.get(2)?,
                })
            };
            Ok(RevocationList {
                users: ids("SELECT id FROM users
                     WHERE disabled_at IS NOT NULL OR deleted_at IS NOT NULL")?,
                rooms: ids("SELECT id FROM coworking_rooms WHERE closed_at IS NOT NULL")?,
                open_rooms: ids("SELECT id FROM coworking_rooms WHERE closed_at IS NULL")?,
                generations: connection
                    .prepare_cached(
                        "SELECT id, token_generation FROM users
                         WHERE token_generation > 0 AND deleted_at IS NULL",
                    )?
                    .query_map((), |row| {
                        let generation: i64 = row.get(1)?;
                        Ok((row.get(0)?, generation.unsigned_abs()))
                    })?
                    .collect::<rusqlite::Result<_>>()?,
                ended_memberships: ended_memberships
                    .query_map([&now], departure)?
                    .collect::<rusqlite::Result<_>>()?,
            })
        })
        .await
    }
}

/// Invalidates all current tokens of a user.
pub(super) fn end_tokens(connection: &Connection, id: &str, unix: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE users SET token_generation = token_generation + 1, tokens_from = ?2
             WHERE id = ?1 AND deleted_at IS NULL",
        )?
        .execute((id, utc::format(unix)))
        .map(drop)
}

pub(super) fn by_id(connection: &Connection, id: &str) -> rusqlite::Result<Option<User>> {
    connection
        .prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users u WHERE id = ?1"))?
        .query_row([id], |row| user_at(row, 0))
        .optional()
}

fn by_name(connection: &Connection, name: &str) -> rusqlite::Result<Option<User>> {
    connection
        .prepare_cached(&format!(
            "SELECT {USER_COLUMNS} FROM users u
             WHERE name = ?1 AND guest_until IS NULL AND deleted_at IS NULL"
        ))?
        .query_row([name], |row| user_at(row, 0))
        .optional()
}

/// `wanted`, or `wanted~2`, `wanted~3`, … where somebody else has that name already.
fn free_name(connection: &Connection, wanted: &str) -> rusqlite::Result<String> {
    let mut name = wanted.to_owned();
    let mut number = 1;
    while by_name(connection, &name)?.is_some() {
        number += 1;
        name = format!("{wanted}~{number}");
    }
    Ok(name)
}

pub(super) fn insert(
    connection: &Connection,
    user: &User,
    password_hash: Option<&str>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO users (id, name, display_name, password_hash, is_admin,
                                guest_room_id, guest_until, invite_id, created_at)
             VALUES (:id, :name, :display_name, :password_hash, :admin,
                     :guest_room, :guest_until, :invite, :created_at)",
        )?
        .execute(named_params! {
            ":id": user.id,
            ":name": user.name,
            ":display_name": user.display_name,
            ":password_hash": password_hash,
            ":admin": user.admin,
            ":guest_room": user.guest.as_ref().map(|guest| &guest.room_id),
            ":guest_until": user.guest.as_ref().map(|guest| utc::format(guest.until)),
            ":invite": user.guest.as_ref().and_then(|guest| guest.invite.as_ref()),
            ":created_at": utc::format(user.created_at),
        })
        .map(drop)
}

/// Reads [`USER_COLUMNS`] from the column `first` on.
pub(super) fn user_at(row: &Row<'_>, first: usize) -> rusqlite::Result<User> {
    let guest_room: Option<String> = row.get(first + 6)?;
    let guest_until = optional_time_at(row, first + 7)?;
    let invite: Option<String> = row.get(first + 9)?;
    let generation: i64 = row.get(first + 10)?;
    Ok(User {
        id: row.get(first)?,
        name: row.get(first + 1)?,
        display_name: row.get(first + 2)?,
        admin: row.get(first + 3)?,
        disabled: row.get(first + 4)?,
        deleted: row.get(first + 5)?,
        guest: guest_room.zip(guest_until).map(|(room_id, until)| Guest {
            room_id,
            until,
            invite,
        }),
        token_cutoff: TokenCutoff {
            generation: generation.unsigned_abs(),
            from: optional_time_at(row, first + 11)?,
        },
        created_at: time_at(row, first + 8)?,
    })
}

pub(super) fn time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(optional_time_at(row, column)?.unwrap_or(0))
}

/// A time that cannot be read (somebody edited the file) counts as 1970.
pub(super) fn optional_time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.map(|text| utc::parse(&text).unwrap_or(0)))
}
