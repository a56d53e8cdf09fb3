//! Finds and creates users, and sets passwords.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::database::Database;
use super::lookup::user_by_id;
use crate::clock;
use crate::display_name::{self, is_valid_name};
use crate::storage::rows::{USER_COLUMN_COUNT, USER_COLUMNS, user_at};
use crate::storage::utc;
use crate::storage::{CreateError, NewUser, StoreError, TokenCutoff, User};
use crate::token::{USER_ID_RULE, valid_user_id};

impl Database {
    pub(crate) async fn find_users(&self, id_or_name: &str) -> Result<Vec<User>, StoreError> {
        let key = id_or_name.to_owned();
        self.read(move |connection| {
            let with_id = user_by_id(connection, &key)?;
            let other = by_name(connection, &key)?.filter(|user| user.id != key);
            Ok(with_id.into_iter().chain(other).collect())
        })
        .await
    }

    pub(crate) async fn login(
        &self,
        name: &str,
    ) -> Result<Option<(User, Option<String>)>, StoreError> {
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

    pub(crate) async fn users(&self) -> Result<Vec<User>, StoreError> {
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

    pub(crate) async fn add_user(&self, new: NewUser) -> Result<User, CreateError> {
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

    pub(crate) async fn has_password(&self, id: &str) -> Result<bool, StoreError> {
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

    pub(crate) async fn set_password(
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
            Ok(Ok(user_by_id(connection, &id)?))
        })
        .await
    }

    pub(crate) async fn sign_out(&self, id: &str, unix: u64) -> Result<Option<User>, StoreError> {
        let id = id.to_owned();
        self.write_without_timeout(move |connection| {
            end_tokens(connection, &id, unix)?;
            Ok(Ok(user_by_id(connection, &id)?.filter(|user| !user.deleted)))
        })
        .await
    }

    pub(crate) async fn provision(
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
            match user_by_id(connection, &id)? {
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

fn by_name(connection: &Connection, name: &str) -> rusqlite::Result<Option<User>> {
    connection
        .prepare_cached(&format!(
            "SELECT {USER_COLUMNS} FROM users u
             WHERE name = ?1 AND guest_until IS NULL AND deleted_at IS NULL"
        ))?
        .query_row([name], |row| user_at(row, 0))
        .optional()
}

/// Returns `wanted`, or `wanted~2`, `wanted~3`, … if another user has that name.
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
