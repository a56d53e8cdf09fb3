//! The context of a command: a running server, or the data directory without one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Config, ReloadReport, advertised_tls, https_listen, turn_tls_listen};
use crate::credential::Credentials;
use crate::data_dir::{DataDir, DataDirError, SecretFile};
use crate::secret::Secret;
use crate::service::App;
use crate::storage::{Store, StoreLock};
use crate::token::{Claims, Tokens};

use super::failure::Failure;
use super::messages::DrainProgress;

/// Access to users, rooms and keys.
pub enum Context {
    Running(ServerContext),
    Offline(Box<OfflineContext>),
}

/// The parts of a running server.
#[derive(Clone)]
pub struct ServerContext {
    pub app: Arc<App>,
    /// HTTP listeners; at least one.
    pub http: Vec<SocketAddr>,
    pub metrics: Vec<SocketAddr>,
    pub data_dir: PathBuf,
    /// The admin socket.
    pub socket: PathBuf,
    /// Reloads the configuration; blocks on disks.
    pub reload: Reload,
    /// Begins a drain with this maximum duration; `false` if the server is already draining.
    pub drain: Drain,
    /// The state of the drain; `None` before a drain begins.
    pub drain_progress: watch::Receiver<Option<DrainProgress>>,
    /// Begins an upgrade to the binary on disk; blocks until that binary has checked the
    /// configuration.
    pub upgrade: Upgrade,
}

/// Returns the changes of the configuration, or every error in the new one.
pub type Reload = Arc<dyn Fn() -> Result<ReloadReport, Vec<String>> + Send + Sync>;

pub(super) type Drain = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// Returns the path of the new binary, or every reason against it.
pub(super) type Upgrade = Arc<dyn Fn() -> Result<PathBuf, Vec<String>> + Send + Sync>;

/// The data directory, opened by the client itself.
pub struct OfflineContext {
    config: Config,
    store: Store,
    data_dir: DataDir,
    served: bool,
}

impl OfflineContext {
    /// Opens an existing data directory; only `parlor serve` creates one. `served` says whether a
    /// server uses it that does not answer.
    pub async fn open(
        config: Config,
        data_dir: &Path,
        served: bool,
    ) -> Result<OfflineContext, Failure> {
        let data_dir = DataDir::open(data_dir)?;
        let path = || Ok::<_, Failure>(data_dir.database_path()?);
        let store = Store::open_configured(&config.store, StoreLock::None, path).await?;
        Ok(OfflineContext {
            config,
            store,
            data_dir,
            served,
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

/// Says that no server answers. `served` says whether one uses the directory.
pub(super) fn no_server(data_dir: &Path, served: bool) -> String {
    let path = data_dir.display();
    if served {
        format!("the server that runs in {path} does not answer at its socket")
    } else {
        format!("no server is running in {path}: `parlor serve` starts one")
    }
}

impl Context {
    /// Returns the running server, for commands that cannot be executed without one.
    pub fn require_server(&self) -> Result<&ServerContext, Failure> {
        match self {
            Context::Running(server) => Ok(server),
            Context::Offline(offline) => {
                let text = no_server(offline.data_dir.path(), offline.served);
                Err(Failure::new(text))
            }
        }
    }

    pub fn server(&self) -> Option<&ServerContext> {
        match self {
            Context::Running(server) => Some(server),
            Context::Offline(_) => None,
        }
    }

    /// Returns the configuration in force.
    pub fn config(&self) -> Config {
        match self {
            Context::Running(server) => server.app.settings().config.clone(),
            Context::Offline(offline) => offline.config.clone(),
        }
    }

    pub fn store(&self) -> &Store {
        match self {
            Context::Running(server) => &server.app.store,
            Context::Offline(offline) => &offline.store,
        }
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> Result<String, DataDirError> {
        match self {
            Context::Running(server) => Ok(server.app.settings().tokens.issue(claims)),
            Context::Offline(offline) => {
                let auth = &offline.config.auth;
                let secret = offline.secret(&auth.secret, SecretFile::Auth)?;
                Ok(Tokens::new(auth, &secret).issue(claims))
            }
        }
    }

    /// Returns the issuer of TURN credentials.
    pub fn credentials(&self) -> Result<Credentials, DataDirError> {
        match self {
            Context::Running(server) => Ok(server.app.settings().credentials.clone()),
            Context::Offline(offline) => {
                let turn = &offline.config.turn;
                let secret = offline.secret(&turn.secret, SecretFile::Turn)?;
                Ok(Credentials::new(&secret, &turn.previous_secrets))
            }
        }
    }

    /// Returns the first HTTP listener; every configuration has one.
    pub fn http(&self) -> SocketAddr {
        match self {
            Context::Running(server) => server.http[0],
            Context::Offline(offline) => offline.config.http.listen[0],
        }
    }

    /// Returns the listeners of TURN over UDP and TCP.
    pub fn turn(&self) -> &[SocketAddr] {
        match self {
            Context::Running(server) => &server.app.turn,
            Context::Offline(offline) => &offline.config.turn.listen,
        }
    }

    /// Returns the listeners at which clients are offered TURN over TLS.
    pub fn turn_tls(&self) -> Vec<SocketAddr> {
        match self {
            Context::Running(server) => {
                let app = &server.app;
                advertised_tls(&app.settings().config, &app.https, &app.turn_tls)
            }
            Context::Offline(offline) => {
                let config = &offline.config;
                advertised_tls(config, &https_listen(config), &turn_tls_listen(config))
            }
        }
    }
}
