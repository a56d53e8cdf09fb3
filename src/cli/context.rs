//! What every command on the database needs: the configuration, the data directory, the store.

use std::net::SocketAddr;

use crate::clock;
use crate::config::Config;
use crate::credential::Credentials;
use crate::secret::Secret;
use crate::store::data_dir::{self, DataDir, DataDirError, Kept};
use crate::store::{Room, Store, User};
use crate::token::Tokens;

use super::failure::Failure;
use super::users::refusal;

/// A command's hold on what the daemon, if one runs, uses too.
pub struct Context {
    pub config: Config,
    pub store: Store,
    data_dir: DataDir,
}

impl Context {
    /// Opens the data directory as it is; only `serve` makes one.
    pub fn open(config: Config) -> Result<Context, Failure> {
        let data_dir = DataDir::existing(&data_dir::resolve(&config.server)?)?;
        let store = Store::open(&data_dir.database()?)?;
        Ok(Context {
            config,
            store,
            data_dir,
        })
    }

    pub fn tokens(&self) -> Result<Tokens, DataDirError> {
        let auth = &self.config.auth;
        let secret = self.secret(&auth.secret, Kept::Auth)?;
        Ok(Tokens::new(auth, &secret))
    }

    pub fn credentials(&self) -> Result<Credentials, DataDirError> {
        let turn = &self.config.turn;
        let secret = self.secret(&turn.secret, Kept::Turn)?;
        Ok(Credentials::new(&secret, &turn.previous_secrets))
    }

    fn secret(&self, configured: &Option<Secret>, kept: Kept) -> Result<Secret, DataDirError> {
        match configured {
            Some(secret) => Ok(secret.clone()),
            None => self.data_dir.secret(kept),
        }
    }

    /// The first address of HTTP; the configuration always has one.
    pub fn http(&self) -> SocketAddr {
        self.config.http.listen[0]
    }

    /// The user of this id or name, who may be let in.
    pub async fn welcome_user(&self, id_or_name: &str) -> Result<User, Failure> {
        let user = self.store.user(id_or_name).await?;
        let user = user.ok_or_else(|| no_such_user(id_or_name))?;
        self.check_welcome(user)
    }

    /// The same; `auth.provision_users` makes one who is not known yet.
    pub async fn provisioned_user(&self, id_or_name: &str) -> Result<User, Failure> {
        if self.config.auth.provision_users && self.store.user(id_or_name).await?.is_none() {
            return self
                .store
                .provision(id_or_name, None)
                .await
                .map_err(refusal);
        }
        self.welcome_user(id_or_name).await
    }

    /// The open room of this id or name.
    pub async fn open_room(&self, id_or_name: &str) -> Result<Room, Failure> {
        match self.store.room(id_or_name).await? {
            None => Err(Failure::refused(format!(
                "there is no room `{id_or_name}`: `parlor room list` shows all, \
                 `parlor room create` makes one"
            ))),
            Some(room) if room.closed_at.is_some() => Err(Failure::refused(format!(
                "the room `{id_or_name}` is closed"
            ))),
            Some(room) => Ok(room),
        }
    }

    fn check_welcome(&self, user: User) -> Result<User, Failure> {
        let name = &user.name;
        if user.deleted {
            return Err(Failure::refused(format!("the user `{name}` was deleted")));
        }
        if user.disabled {
            return Err(Failure::refused(format!("the user `{name}` is disabled")));
        }
        match user.is_welcome(clock::now().unix) {
            true => Ok(user),
            false => Err(Failure::refused(format!(
                "the time of guest `{name}` has run out"
            ))),
        }
    }
}

fn no_such_user(id_or_name: &str) -> Failure {
    Failure::refused(format!(
        "there is no user `{id_or_name}`: `parlor user list` shows all, \
         `parlor user add {id_or_name}` adds one"
    ))
}
