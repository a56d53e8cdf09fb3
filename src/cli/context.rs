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

    /// The user whom this word means, who may be let in.
    pub async fn welcome_user(&self, word: &str) -> Result<User, Failure> {
        self.check_welcome(self.any_user(word).await?)
    }

    /// The same; `auth.provision_users` makes one who is not known yet.
    pub async fn provisioned_user(&self, word: &str) -> Result<User, Failure> {
        if self.config.auth.provision_users && self.user(word).await?.is_none() {
            let made = self.store.provision(bare(word), None).await;
            return made.map_err(refusal);
        }
        self.welcome_user(word).await
    }

    /// The open room that this word means.
    pub async fn open_room(&self, word: &str) -> Result<Room, Failure> {
        let room = self.any_room(word).await?;
        match room.closed_at {
            Some(_) => Err(Failure::refused(format!("the room `{word}` is closed"))),
            None => Ok(room),
        }
    }

    /// The room that this word means, closed ones too.
    pub async fn any_room(&self, word: &str) -> Result<Room, Failure> {
        let called = self.store.rooms_called(bare(word)).await?;
        let room = only("room", word, called, |room| &room.id)?;
        room.ok_or_else(|| {
            Failure::refused(format!(
                "there is no room `{word}`: `parlor room list` shows all, \
                 `parlor room create` makes one"
            ))
        })
    }

    /// The user whom this word means, deleted ones too.
    pub async fn any_user(&self, word: &str) -> Result<User, Failure> {
        self.user(word).await?.ok_or_else(|| no_such_user(word))
    }

    /// The user whom this word means, disabled ones too.
    pub async fn living_user(&self, word: &str) -> Result<User, Failure> {
        let user = self.any_user(word).await?;
        match user.deleted {
            true => Err(Failure::refused(format!("the user `{word}` was deleted"))),
            false => Ok(user),
        }
    }

    async fn user(&self, word: &str) -> Result<Option<User>, Failure> {
        let called = self.store.users_called(bare(word)).await?;
        only("user", word, called, |user| &user.id)
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

/// A word that begins with this is an id and no name.
const ID: &str = "id:";

/// What is looked for.
fn bare(word: &str) -> &str {
    word.strip_prefix(ID).unwrap_or(word)
}

/// Which of those that are called so is meant; `None` where nobody is.
///
/// # Errors
/// Two are: the id of the one is the name of the other, and whoever typed it may have thought of
/// either.
fn only<T>(
    kind: &str,
    word: &str,
    mut called: Vec<T>,
    id: impl Fn(&T) -> &str,
) -> Result<Option<T>, Failure> {
    if let Some(wanted) = word.strip_prefix(ID) {
        called.retain(|one| id(one) == wanted);
    }
    if let [one, other] = &called[..] {
        return Err(Failure::refused(format!(
            "`{word}` is the id of one {kind} and the name of another: \
             use the id of the one you mean, `{ID}{}` or `{ID}{}`",
            id(one),
            id(other)
        )));
    }
    Ok(called.pop())
}

fn no_such_user(word: &str) -> Failure {
    Failure::refused(format!(
        "there is no user `{word}`: `parlor user list` shows all, \
         `parlor user add {}` adds one",
        bare(word)
    ))
}
