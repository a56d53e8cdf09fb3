//! What a command works on: the parts of the running daemon, or the data directory without one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{self, Now};
use crate::config::{Config, Report, https_listen, offered_tls, turn_tls_listen};
use crate::credential::Credentials;
use crate::data_dir::{DataDir, DataDirError, SecretFile};
use crate::http::App;
use crate::secret::Secret;
use crate::storage::{Room, Store, User};
use crate::token::{Claims, Tokens};

use super::drain::DrainProgress;
use super::failure::Failure;
use super::users::refusal;

/// A command's hold on users, rooms and keys.
pub enum Context {
    Running(ServerContext),
    Offline(Box<OfflineContext>),
}

/// What only the daemon has.
#[derive(Clone)]
pub struct ServerContext {
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
pub struct OfflineContext {
    config: Config,
    store: Store,
    data_dir: DataDir,
    served: bool,
}

impl OfflineContext {
    /// Opens the data directory as it is; only `serve` makes one. `served` says whether a parlor
    /// runs there, which does not answer.
    pub fn open(config: Config, data_dir: &Path, served: bool) -> Result<OfflineContext, Failure> {
        let data_dir = DataDir::open(data_dir)?;
        let store = Store::open(&data_dir.database_path()?)?;
        Ok(OfflineContext {
            config,
            store,
            data_dir,
            served,
        })
    }

    /// Why there is nobody to ask.
    fn no_server(&self) -> Failure {
        let path = self.data_dir.path().display();
        Failure::new(match self.served {
            true => format!("the parlor that runs in {path} does not answer at its socket"),
            false => format!("no parlor runs in {path}: `parlor serve` starts one"),
        })
    }

    fn secret(
        &self,
        configured: &Option<Secret>,
        file: SecretFile,
    ) -> Result<Secret, DataDirError> {
        match configured {
            Some(secret) => Ok(secret.clone()),
            None => self.data_dir.secret(file),
        }
    }
}

impl Context {
    /// The running daemon, for commands that make no sense without one.
    pub fn require_server(&self) -> Result<&ServerContext, Failure> {
        match self {
            Context::Running(server) => Ok(server),
            Context::Offline(alone) => Err(alone.no_server()),
        }
    }

    pub fn server(&self) -> Option<&ServerContext> {
        match self {
            Context::Running(server) => Some(server),
            Context::Offline(_) => None,
        }
    }

    /// What holds now.
    pub fn config(&self) -> Config {
        match self {
            Context::Running(server) => server.app.settings().config.clone(),
            Context::Offline(alone) => alone.config.clone(),
        }
    }

    pub fn store(&self) -> &Store {
        match self {
            Context::Running(server) => &server.app.store,
            Context::Offline(alone) => &alone.store,
        }
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> Result<String, DataDirError> {
        match self {
            Context::Running(server) => Ok(server.app.settings().tokens.issue(claims)),
            Context::Offline(alone) => {
                let auth = &alone.config.auth;
                let secret = alone.secret(&auth.secret, SecretFile::Auth)?;
                Ok(Tokens::new(auth, &secret).issue(claims))
            }
        }
    }

    /// What mints credentials of the relay.
    pub fn credentials(&self) -> Result<Credentials, DataDirError> {
        match self {
            Context::Running(server) => Ok(server.app.settings().credentials.clone()),
            Context::Offline(alone) => {
                let turn = &alone.config.turn;
                let secret = alone.secret(&turn.secret, SecretFile::Turn)?;
                Ok(Credentials::new(&secret, &turn.previous_secrets))
            }
        }
    }

    /// The first address of HTTP; the configuration always has one.
    pub fn http(&self) -> SocketAddr {
        match self {
            Context::Running(server) => server.http[0],
            Context::Offline(alone) => alone.config.http.listen[0],
        }
    }

    /// Where TURN listens.
    pub fn turn(&self) -> &[SocketAddr] {
        match self {
            Context::Running(server) => &server.app.turn,
            Context::Offline(alone) => &alone.config.turn.listen,
        }
    }

    /// Where TURN over TLS is offered.
    pub fn turn_tls(&self) -> Vec<SocketAddr> {
        match self {
            Context::Running(server) => {
                let app = &server.app;
                offered_tls(&app.settings().config, &app.https, &app.turn_tls)
            }
            Context::Offline(alone) => {
                let config = &alone.config;
                offered_tls(config, &https_listen(config), &turn_tls_listen(config))
            }
        }
    }

    /// The user whom this word means, who may be let in.
    pub async fn find_active_user(&self, argument: &str) -> Result<User, Failure> {
        self.check_active(self.find_user(argument).await?)
    }

    /// The same; `auth.provision_users` makes one who is not known yet.
    pub async fn find_or_provision_user(&self, argument: &str) -> Result<User, Failure> {
        if self.config().auth.provision_users && self.user(argument).await?.is_none() {
            let created = self
                .store()
                .provision(strip_id_prefix(argument), None)
                .await;
            return created.map_err(refusal);
        }
        self.find_active_user(argument).await
    }

    /// The open room that this word means.
    pub async fn find_open_room(&self, argument: &str) -> Result<Room, Failure> {
        let room = self.find_room(argument).await?;
        match room.closed_at {
            Some(_) => Err(Failure::new(format!("the room `{argument}` is closed"))),
            None => Ok(room),
        }
    }

    /// The room that this word means, closed ones too.
    pub async fn find_room(&self, argument: &str) -> Result<Room, Failure> {
        let called = self.store().find_rooms(strip_id_prefix(argument)).await?;
        let room = unique_match("room", argument, called, |room| &room.id)?;
        room.ok_or_else(|| {
            Failure::new(format!(
                "there is no room `{argument}`: `parlor room list` shows all, \
                 `parlor room create` makes one"
            ))
        })
    }

    /// The user whom this word means, disabled ones too.
    pub async fn find_existing_user(&self, argument: &str) -> Result<User, Failure> {
        let user = self.find_user(argument).await?;
        match user.deleted {
            true => Err(Failure::new(format!("the user `{argument}` was deleted"))),
            false => Ok(user),
        }
    }

    fn check_active(&self, user: User) -> Result<User, Failure> {
        let name = &user.name;
        if user.deleted {
            return Err(Failure::new(format!("the user `{name}` was deleted")));
        }
        if user.disabled {
            return Err(Failure::new(format!("the user `{name}` is disabled")));
        }
        match user.is_active(clock::now().unix) {
            true => Ok(user),
            false => Err(Failure::new(format!(
                "the time of guest `{name}` has run out"
            ))),
        }
    }
}

/// A word that begins with this is an id and no name.
pub(super) const ID_PREFIX: &str = "id:";

/// What is looked for.
pub(super) fn strip_id_prefix(argument: &str) -> &str {
    argument.strip_prefix(ID_PREFIX).unwrap_or(argument)
}

/// Which of those that are called so is meant; `None` where nobody is.
///
/// # Errors
/// Two are: the id of the one is the name of the other, and whoever typed it may have thought of
/// either.
pub(super) fn unique_match<T>(
    kind: &str,
    argument: &str,
    mut called: Vec<T>,
    id: impl Fn(&T) -> &str,
) -> Result<Option<T>, Failure> {
    if let Some(wanted) = argument.strip_prefix(ID_PREFIX) {
        called.retain(|one| id(one) == wanted);
    }
    if let [one, other] = &called[..] {
        return Err(Failure::new(format!(
            "`{argument}` is the id of one {kind} and the name of another: \
             use the id of the one you mean, `{ID_PREFIX}{}` or `{ID_PREFIX}{}`",
            id(one),
            id(other)
        )));
    }
    Ok(called.pop())
}
