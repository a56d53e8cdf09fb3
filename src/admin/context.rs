//! What a command works on: the parts of the running daemon, or the data directory without one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{self, Now};
use crate::config::{Config, Report, https_listen, offered_tls, turn_tls_listen};
use crate::credential::Credentials;
use crate::http::App;
use crate::secret::Secret;
use crate::storage::data_dir::{DataDir, DataDirError, Kept};
use crate::storage::{Room, Store, User};
use crate::token::{Claims, Tokens};

use super::drain::DrainProgress;
use super::failure::Failure;
use super::users::refusal;

/// A command's hold on users, rooms and keys.
pub enum Context {
    Running(Live),
    Alone(Box<Alone>),
}

/// What only the daemon has.
#[derive(Clone)]
pub struct Live {
    pub app: Arc<App>,
    /// Where HTTP listens; at least one.
    pub http: Vec<SocketAddr>,
    pub metrics: Vec<SocketAddr>,
    pub data_dir: PathBuf,
    /// Where commands are taken.
    pub socket: PathBuf,
    /// Since when it runs.
    pub started: Now,
    /// Reads the configuration anew; waits for disks.
    pub reload: Reload,
    /// Begins to drain, for this long; `false` where it does already.
    pub drain: Drain,
    /// The state of the drain; `None` before a drain begins.
    pub drain_progress: watch::Receiver<Option<DrainProgress>>,
    /// Has another program go on; waits for it.
    pub upgrade: Upgrade,
}

/// What came of reading the configuration anew, or every problem of the new one.
pub type Reload = Arc<dyn Fn() -> Result<Report, Vec<String>> + Send + Sync>;

pub type Drain = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// Which program goes on, or everything that speaks against it.
pub type Upgrade = Arc<dyn Fn() -> Result<PathBuf, Vec<String>> + Send + Sync>;

/// The data directory, opened by the command itself.
pub struct Alone {
    config: Config,
    store: Store,
    data_dir: DataDir,
    served: bool,
}

impl Alone {
    /// Opens the data directory as it is; only `serve` makes one. `served` says whether a parlor
    /// runs there, which does not answer.
    pub fn open(config: Config, data_dir: &Path, served: bool) -> Result<Alone, Failure> {
        let data_dir = DataDir::existing(data_dir)?;
        let store = Store::open(&data_dir.database()?)?;
        Ok(Alone {
            config,
            store,
            data_dir,
            served,
        })
    }

    /// Why there is nobody to ask.
    fn nobody(&self) -> Failure {
        let path = self.data_dir.path().display();
        Failure::refused(match self.served {
            true => format!("the parlor that runs in {path} does not answer at its socket"),
            false => format!("no parlor runs in {path}: `parlor serve` starts one"),
        })
    }

    fn secret(&self, configured: &Option<Secret>, kept: Kept) -> Result<Secret, DataDirError> {
        match configured {
            Some(secret) => Ok(secret.clone()),
            None => self.data_dir.secret(kept),
        }
    }
}

impl Context {
    /// The running daemon, for commands that make no sense without one.
    pub fn running(&self) -> Result<&Live, Failure> {
        match self {
            Context::Running(live) => Ok(live),
            Context::Alone(alone) => Err(alone.nobody()),
        }
    }

    pub fn live(&self) -> Option<&Live> {
        match self {
            Context::Running(live) => Some(live),
            Context::Alone(_) => None,
        }
    }

    /// What holds now.
    pub fn config(&self) -> Config {
        match self {
            Context::Running(live) => live.app.settings().config.clone(),
            Context::Alone(alone) => alone.config.clone(),
        }
    }

    pub fn store(&self) -> &Store {
        match self {
            Context::Running(live) => &live.app.store,
            Context::Alone(alone) => &alone.store,
        }
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> Result<String, DataDirError> {
        match self {
            Context::Running(live) => Ok(live.app.settings().tokens.issue(claims)),
            Context::Alone(alone) => {
                let auth = &alone.config.auth;
                let secret = alone.secret(&auth.secret, Kept::Auth)?;
                Ok(Tokens::new(auth, &secret).issue(claims))
            }
        }
    }

    /// What mints credentials of the relay.
    pub fn credentials(&self) -> Result<Credentials, DataDirError> {
        match self {
            Context::Running(live) => Ok(live.app.settings().credentials.clone()),
            Context::Alone(alone) => {
                let turn = &alone.config.turn;
                let secret = alone.secret(&turn.secret, Kept::Turn)?;
                Ok(Credentials::new(&secret, &turn.previous_secrets))
            }
        }
    }

    /// The first address of HTTP; the configuration always has one.
    pub fn http(&self) -> SocketAddr {
        match self {
            Context::Running(live) => live.http[0],
            Context::Alone(alone) => alone.config.http.listen[0],
        }
    }

    /// Where TURN listens.
    pub fn turn(&self) -> &[SocketAddr] {
        match self {
            Context::Running(live) => &live.app.turn,
            Context::Alone(alone) => &alone.config.turn.listen,
        }
    }

    /// Where TURN over TLS is offered.
    pub fn turn_tls(&self) -> Vec<SocketAddr> {
        match self {
            Context::Running(live) => {
                let app = &live.app;
                offered_tls(&app.settings().config, &app.https, &app.turn_tls)
            }
            Context::Alone(alone) => {
                let config = &alone.config;
                offered_tls(config, &https_listen(config), &turn_tls_listen(config))
            }
        }
    }

    /// The user whom this word means, who may be let in.
    pub async fn welcome_user(&self, word: &str) -> Result<User, Failure> {
        self.check_welcome(self.any_user(word).await?)
    }

    /// The same; `auth.provision_users` makes one who is not known yet.
    pub async fn provisioned_user(&self, word: &str) -> Result<User, Failure> {
        if self.config().auth.provision_users && self.user(word).await?.is_none() {
            let made = self.store().provision(bare(word), None).await;
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
        let called = self.store().rooms_called(bare(word)).await?;
        let room = only("room", word, called, |room| &room.id)?;
        room.ok_or_else(|| {
            Failure::refused(format!(
                "there is no room `{word}`: `parlor room list` shows all, \
                 `parlor room create` makes one"
            ))
        })
    }

    /// The user whom this word means, disabled ones too.
    pub async fn living_user(&self, word: &str) -> Result<User, Failure> {
        let user = self.any_user(word).await?;
        match user.deleted {
            true => Err(Failure::refused(format!("the user `{word}` was deleted"))),
            false => Ok(user),
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

/// A word that begins with this is an id and no name.
pub(super) const ID: &str = "id:";

/// What is looked for.
pub(super) fn bare(word: &str) -> &str {
    word.strip_prefix(ID).unwrap_or(word)
}

/// Which of those that are called so is meant; `None` where nobody is.
///
/// # Errors
/// Two are: the id of the one is the name of the other, and whoever typed it may have thought of
/// either.
pub(super) fn only<T>(
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
