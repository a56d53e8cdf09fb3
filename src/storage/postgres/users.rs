//! Finds and creates users, and sets passwords.

use super::call::{READ, REPEATABLE_WRITE, Text, WRITE, time};
use super::database::Database;
use crate::clock;
use crate::display_name::{self, is_valid_name};
use crate::storage::rows::{USER_COLUMN_COUNT, USER_COLUMNS, user_at};
use crate::storage::{CreateError, NewUser, StoreError, TokenCutoff, User};
use crate::token::{USER_ID_RULE, valid_user_id};

impl Database {
    pub(crate) async fn find_users(&self, id_or_name: &str) -> Result<Vec<User>, StoreError> {
        let sql = format!(
            "SELECT {USER_COLUMNS} FROM users u
             WHERE u.id = $1 OR (u.name = $1 AND u.guest_until IS NULL AND u.deleted_at IS NULL)
             ORDER BY u.id = $1 DESC"
        );
        self.query(READ, &sql, &[&Text(id_or_name)], |row| user_at(row, 0))
            .await
    }

    pub(crate) async fn login(
        &self,
        name: &str,
    ) -> Result<Option<(User, Option<String>)>, StoreError> {
        let sql = format!(
            "SELECT {USER_COLUMNS}, u.password_hash FROM users u
             WHERE u.name = $1 AND u.guest_until IS NULL AND u.deleted_at IS NULL"
        );
        self.query_opt(READ, &sql, &[&Text(name)], |row| {
            Ok((user_at(row, 0)?, row.try_get(USER_COLUMN_COUNT)?))
        })
        .await
    }

    pub(crate) async fn users(&self) -> Result<Vec<User>, StoreError> {
        let sql = format!(
            "SELECT {USER_COLUMNS} FROM users u
             WHERE u.guest_until IS NULL AND u.deleted_at IS NULL ORDER BY u.name"
        );
        self.query(READ, &sql, &[], |row| user_at(row, 0)).await
    }

    pub(crate) async fn add_user(&self, new: NewUser) -> Result<User, CreateError> {
        let display_name = new.display_name.as_deref().unwrap_or(&new.name);
        if !is_valid_name(&new.name) || !is_valid_name(display_name) {
            return Err(CreateError::BadName);
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
            created_at: clock::now().unix,
        };
        let sql = "SELECT create_user($1, $2, $3, $4, $5, $6)";
        let parameters: super::call::Parameters<'_> = &[
            &user.id,
            &user.name,
            &user.display_name,
            &new.password_hash,
            &user.admin,
            &time(user.created_at),
        ];
        let outcome: String = self
            .query_one(WRITE.without_doubt(), sql, parameters, |row| row.try_get(0))
            .await?;
        match outcome.as_str() {
            "done" => Ok(user),
            _ => Err(CreateError::NameTaken(new.name)),
        }
    }

    pub(crate) async fn has_password(&self, id: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM users WHERE id = $1 AND password_hash IS NOT NULL)";
        self.query_one(READ, sql, &[&Text(id)], |row| row.try_get(0))
            .await
    }

    pub(crate) async fn set_password(
        &self,
        id: &str,
        hash: &str,
        unix: u64,
    ) -> Result<Option<User>, StoreError> {
        let sql = format!(
            "UPDATE users u SET password_hash = $2, token_generation = u.token_generation + 1,
                                tokens_from = $3
             WHERE u.id = $1 AND u.deleted_at IS NULL AND u.guest_until IS NULL
             RETURNING {USER_COLUMNS}"
        );
        let parameters: super::call::Parameters<'_> = &[&Text(id), &Text(hash), &time(unix)];
        self.query_opt(REPEATABLE_WRITE, &sql, parameters, |row| user_at(row, 0))
            .await
    }

    pub(crate) async fn sign_out(&self, id: &str, unix: u64) -> Result<Option<User>, StoreError> {
        let sql = format!(
            "UPDATE users u SET token_generation = u.token_generation + 1, tokens_from = $2
             WHERE u.id = $1 AND u.deleted_at IS NULL RETURNING {USER_COLUMNS}"
        );
        let parameters: super::call::Parameters<'_> = &[&Text(id), &time(unix)];
        self.query_opt(REPEATABLE_WRITE, &sql, parameters, |row| user_at(row, 0))
            .await
    }

    pub(crate) async fn provision(
        &self,
        id: &str,
        display_name: Option<&str>,
    ) -> Result<User, CreateError> {
        if !valid_user_id(id) {
            return Err(CreateError::BadId(id.to_owned(), USER_ID_RULE));
        }
        let display_name = display_name.and_then(display_name::sanitize);
        let display_name = display_name.as_deref().unwrap_or(id);
        let sql = format!("SELECT {USER_COLUMNS} FROM provision_user($1, $2, $3) u");
        let now = time(clock::now().unix);
        let parameters: super::call::Parameters<'_> = &[&Text(id), &Text(display_name), &now];
        let user = self
            .query_one(REPEATABLE_WRITE.without_doubt(), &sql, parameters, |row| {
                user_at(row, 0)
            })
            .await?;
        if user.deleted {
            return Err(CreateError::Deleted(id.to_owned()));
        }
        Ok(user)
    }
}
