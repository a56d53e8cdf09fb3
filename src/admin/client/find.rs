//! Finds the server or the database that a command is for.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::data_dir::{self, DataDir, DataDirError};

use super::{AdminClient, RunningServer, connect};
use crate::admin::command::WithoutServer;
use crate::admin::context::{Context, OfflineContext, no_server};
use crate::admin::failure::Failure;
use crate::admin::framing::FrameError;
use crate::admin::messages::{DirectoryId, Greeting, ServerInfo};
use crate::admin::socket;

/// Directories of a server that systemd runs, for a client outside the unit's environment.
#[derive(Debug, Clone)]
pub struct SocketPaths {
    /// `StateDirectory=`: the data directory.
    pub state: PathBuf,
    /// `RuntimeDirectory=`: the socket's directory.
    pub runtime: PathBuf,
}

impl Default for SocketPaths {
    fn default() -> SocketPaths {
        SocketPaths {
            state: PathBuf::from("/var/lib/parlor"),
            runtime: PathBuf::from("/run/parlor"),
        }
    }
}

/// A client, and a remark for the user that says which server or database it uses.
pub struct Target {
    pub client: AdminClient,
    pub remark: Option<String>,
}

/// Finds the server of the data directory that the configuration and the environment name. If they
/// name none, uses the user's own directory, or else the system's.
///
/// # Errors
/// There is neither a server nor a directory, or the server rejects this user. Or the directory has no
/// database, unless the command creates it.
pub async fn find(
    config: Config,
    paths: &SocketPaths,
    without_server: WithoutServer,
) -> Result<Target, Failure> {
    let configured = data_dir::configured(&config.server);
    let data_dir = match &configured {
        Some(path) => path.clone(),
        None => default_data_dir(&config, paths)?,
    };
    let mut rejection = None;
    for path in candidate_sockets(&config, &data_dir, paths) {
        let info = match probe(&path).await {
            Probe::Accepted(info) => info,
            Probe::Rejected(reason) => {
                rejection = Some(reason);
                continue;
            }
            Probe::NoServer => continue,
        };
        let same = DirectoryId::of(&data_dir).is_ok_and(|id| id == info.directory);
        let no_other = configured.is_none() && !data_dir.exists();
        if same || no_other {
            let expected = configured.is_some() || data_dir == user_data_dir(&config)?;
            let remark = format!(
                "Using the server whose data directory is {}.",
                info.data_dir
            );
            let client = AdminClient::Running(RunningServer { socket: path, info });
            return Ok(Target {
                client,
                remark: (!expected || no_other).then_some(remark),
            });
        }
    }
    // A user who may write to the database needs no permission from the server. A configured
    // directory that does not exist is the better error than a rejection by another server.
    let missing = configured.is_some() && matches!(data_dir.try_exists(), Ok(false));
    let rejection = rejection.filter(|_| !missing);
    open_database(config, &data_dir, without_server)
        .await
        .map_err(|failure| rejection.map_or(failure, Failure::new))
}

async fn open_database(
    config: Config,
    data_dir: &Path,
    without_server: WithoutServer,
) -> Result<Target, Failure> {
    let existing = DataDir::open(data_dir)?;
    let path = data_dir.display();
    let url = config.store.url.as_ref().map(ToString::to_string);
    let creates_database = without_server == WithoutServer::CreatesDatabase;
    if !creates_database && url.is_none() && !existing.has_database() {
        return Err(Failure::new(format!(
            "there is no database in {path}: `parlor serve` creates it"
        )));
    }
    let served = existing.is_locked();
    let no_server = no_server(data_dir, served);
    if without_server == WithoutServer::Fails {
        return Err(Failure::new(no_server));
    }
    let offline = OfflineContext::open(config, data_dir, served).await;
    let offline = offline.map_err(|mut failure| {
        // The cause of the failure: a server may have the secret of the database, and this process not.
        if url.is_some() {
            failure.problems.insert(0, no_server);
        }
        failure
    })?;
    let context = Context::Offline(Box::new(offline));
    let place = match url {
        Some(url) => format!("{url}, with the data directory {path}"),
        None => format!("in {path}"),
    };
    let remark = if served {
        format!(
            "Using the database {place}: the server that runs there does not answer at its \
         socket, but applies the change within half a second."
        )
    } else {
        format!("Using the database {place}: no server is running there.")
    };
    Ok(Target {
        client: AdminClient::Offline(context),
        remark: Some(remark),
    })
}

/// The user's own directory if it exists, else the system's if that exists.
fn default_data_dir(config: &Config, paths: &SocketPaths) -> Result<PathBuf, DataDirError> {
    let own = user_data_dir(config)?;
    if !own.exists() && paths.state.exists() {
        Ok(paths.state.clone())
    } else {
        Ok(own)
    }
}

fn user_data_dir(config: &Config) -> Result<PathBuf, DataDirError> {
    data_dir::resolve(&config.server)
}

/// Returns the paths where the server may listen, the most likely one first.
fn candidate_sockets(config: &Config, data_dir: &Path, paths: &SocketPaths) -> Vec<PathBuf> {
    if let Some(path) = &config.admin.socket {
        return vec![path.clone()];
    }
    let mut sockets: Vec<_> = socket::runtime_dir_path().into_iter().collect();
    for directory in [data_dir, &paths.runtime] {
        let path = socket::path_in(directory);
        if !sockets.contains(&path) {
            sockets.push(path);
        }
    }
    sockets
}

/// The result of a connection attempt.
enum Probe {
    Accepted(ServerInfo),
    /// The server rejects this user; the text is one sentence.
    Rejected(String),
    NoServer,
}

async fn probe(path: &Path) -> Probe {
    match connect(path).await {
        Ok((_, Greeting::Welcome(info))) => Probe::Accepted(info),
        Ok((_, Greeting::Refused(reason))) => Probe::Rejected(reason),
        Err(FrameError::Broken(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Probe::Rejected(format!(
                "{} is only for root and the server's own user: use sudo",
                path.display()
            ))
        }
        Err(_) => Probe::NoServer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use tokio::net::UnixListener;

    use crate::admin::framing::{self, MAX_RESPONSE_BYTES};

    fn paths_below(root: &Path) -> SocketPaths {
        SocketPaths {
            state: root.join("state"),
            runtime: root.join("run"),
        }
    }

    #[test]
    fn a_configured_socket_is_the_only_one() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths_below(root.path());
        let mut config = Config::default();
        let data_dir = root.path().join("data");
        let found = candidate_sockets(&config, &data_dir, &paths);
        assert!(found.ends_with(&[
            data_dir.join("parlor.sock"),
            paths.runtime.join("parlor.sock")
        ]));
        config.admin.socket = Some(root.path().join("own.sock"));
        let found = candidate_sockets(&config, &data_dir, &paths);
        assert_eq!(found, [root.path().join("own.sock")]);
    }

    #[tokio::test]
    async fn a_missing_configured_directory_is_reported_before_a_rejection_of_another_server() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths_below(root.path());
        fs::create_dir(&paths.runtime).unwrap();
        let listener = UnixListener::bind(socket::path_in(&paths.runtime)).unwrap();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let rejection = Greeting::Refused("not for you".to_owned());
                framing::write(&mut stream, &rejection, MAX_RESPONSE_BYTES)
                    .await
                    .unwrap();
            }
        });
        let mut config = Config::default();
        config.server.data_dir = Some(root.path().join("absent"));
        let failure = find(config.clone(), &paths, WithoutServer::CreatesDatabase)
            .await
            .err()
            .expect("a failure");
        assert!(failure.problems[0].contains("absent"), "{failure:?}");
        // The path exists, and is not a directory.
        fs::write(root.path().join("absent"), "no directory").unwrap();
        let failure = find(config, &paths, WithoutServer::CreatesDatabase)
            .await
            .err()
            .expect("a failure");
        assert_eq!(failure.problems, ["not for you"]);
        server.abort();
    }

    #[tokio::test]
    async fn a_configured_directory_is_never_replaced_by_the_systems() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths_below(root.path());
        fs::create_dir(&paths.state).unwrap();
        let mut config = Config::default();
        config.server.data_dir = Some(root.path().join("absent"));
        let failure = find(config, &paths, WithoutServer::CreatesDatabase)
            .await
            .err()
            .expect("a failure");
        assert!(failure.problems[0].contains("absent"), "{failure:?}");
    }
}
