//! The side of whoever types a command: finds the running daemon, or the database where none runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::data_dir::{self, DataDir, DataDirError};

use super::command::Command;
use super::context::{Context, OfflineContext};
use super::failure::Failure;
use super::frame::{
    self, FrameError, Greeting, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Outcome, ServerInfo,
};
use super::response::Response;
use super::server::directory;
use super::socket;

/// Timeout for the greeting, which the daemon sends at once.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Before the next try, where the queue is full.
const QUEUE_RETRY_DELAY: Duration = Duration::from_millis(10);
/// For a reply; a little more than the daemon takes to give up.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(75);

/// Where a parlor may be that systemd runs, when the environment does not say.
#[derive(Debug, Clone)]
pub struct SocketPaths {
    /// Of the data.
    pub state: PathBuf,
    /// Of the socket.
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

/// Who carries commands out.
pub enum AdminClient {
    Running(RunningServer),
    Offline(Context),
}

/// A daemon that answered.
pub struct RunningServer {
    socket: PathBuf,
    host: ServerInfo,
}

/// A desk, and what has to be said about it.
pub struct Target {
    pub client: AdminClient,
    pub remark: Option<String>,
}

/// Looks for the daemon of the data directory that configuration and environment name; where they
/// name none, of the user's own or else of the system's.
///
/// # Errors
/// There is neither a daemon nor a directory, or the daemon rejects this user. Or the directory has no
/// database, unless the command `creates_database` one.
pub async fn find(
    config: Config,
    socket_paths: &SocketPaths,
    creates_database: bool,
) -> Result<Target, Failure> {
    let named = data_dir::configured(&config.server);
    let data_dir = match &named {
        Some(path) => path.clone(),
        None => default_data_dir(&config, socket_paths)?,
    };
    let mut rejection = None;
    for path in candidate_sockets(&config, &data_dir, socket_paths) {
        let host = match probe(&path).await {
            Probe::Welcome(host) => host,
            Probe::Refused(why) => {
                rejection = Some(why);
                continue;
            }
            Probe::NoServer => continue,
        };
        let same = directory(&data_dir).is_ok_and(|ours| ours == host.directory);
        let only_one = named.is_none() && !data_dir.exists();
        if same || only_one {
            let theirs = &host.data_dir;
            let expected = named.is_some() || data_dir == user_data_dir(&config)?;
            let remark = format!("On the running parlor that keeps its data in {theirs}.");
            let remark = (!expected || only_one).then_some(remark);
            let client = AdminClient::Running(RunningServer { socket: path, host });
            return Ok(Target { client, remark });
        }
    }
    // Whoever may use the database needs nobody's permission; and none makes a directory that was
    // named and does not exist.
    let missing = named.is_some() && matches!(data_dir.try_exists(), Ok(false));
    let rejection = rejection.filter(|_| !missing);
    open_database(config, &data_dir, creates_database)
        .map_err(|failure| rejection.map_or(failure, Failure::new))
}

impl AdminClient {
    pub async fn ask(&self, command: Command) -> Result<Response, Failure> {
        match self {
            AdminClient::Running(running) => running.ask(command).await,
            AdminClient::Offline(context) => super::execute(context, command).await,
        }
    }
}

/// Without a daemon: the database itself.
fn open_database(
    config: Config,
    data_dir: &Path,
    creates_database: bool,
) -> Result<Target, Failure> {
    let existing = DataDir::open(data_dir)?;
    if !creates_database && !existing.has_database() {
        return Err(Failure::new(format!(
            "no parlor has run in {}: there is no database, which `parlor serve` makes",
            data_dir.display()
        )));
    }
    let busy = existing.is_locked();
    let context = Context::Offline(Box::new(OfflineContext::open(config, data_dir, busy)?));
    let path = data_dir.display();
    let remark = match busy {
        true => format!(
            "On the database in {path}: the parlor that runs there does not answer at its socket, \
             but takes notice within a second."
        ),
        false => format!("On the database in {path}: no parlor runs there."),
    };
    Ok(Target {
        client: AdminClient::Offline(context),
        remark: Some(remark),
    })
}

/// The user's own directory where there is one, else the system's where there is that.
fn default_data_dir(config: &Config, socket_paths: &SocketPaths) -> Result<PathBuf, DataDirError> {
    let user_data_dir = user_data_dir(config)?;
    match !user_data_dir.exists() && socket_paths.state.exists() {
        true => Ok(socket_paths.state.clone()),
        false => Ok(user_data_dir),
    }
}

fn user_data_dir(config: &Config) -> Result<PathBuf, DataDirError> {
    data_dir::resolve(&config.server)
}

/// Where the daemon may listen, most likely first.
fn candidate_sockets(config: &Config, data_dir: &Path, socket_paths: &SocketPaths) -> Vec<PathBuf> {
    if let Some(path) = &config.admin.socket {
        return vec![path.clone()];
    }
    let environment = socket::runtime_dir_path();
    let mut candidate_sockets: Vec<_> = environment.into_iter().collect();
    for directory in [data_dir, &socket_paths.runtime] {
        let path = socket::path_in(directory);
        if !candidate_sockets.contains(&path) {
            candidate_sockets.push(path);
        }
    }
    candidate_sockets
}

/// Who is at a socket.
enum Probe {
    Welcome(ServerInfo),
    /// A daemon that does not listen to this user; the sentence says so.
    Refused(String),
    NoServer,
}

async fn probe(path: &Path) -> Probe {
    match connect(path).await {
        Ok((_, Greeting::Welcome(host))) => Probe::Welcome(host),
        Ok((_, Greeting::Refused(why))) => Probe::Refused(why),
        Err(FrameError::Broken(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Probe::Refused(format!(
                "{} is for root and for the user that parlor runs as: put sudo in front",
                path.display()
            ))
        }
        Err(_) => Probe::NoServer,
    }
}

async fn connect(path: &Path) -> Result<(UnixStream, Greeting), FrameError> {
    let greeted = timeout(GREETING_TIMEOUT, async {
        let mut stream = connect_with_retry(path).await?;
        let greeting = frame::read(&mut stream, MAX_RESPONSE_BYTES).await?;
        Ok((stream, greeting))
    });
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    greeted.await.map_err(timed_out)?
}

/// Where the queue of the socket is full, the kernel has us come again instead of wait.
async fn connect_with_retry(path: &Path) -> io::Result<UnixStream> {
    loop {
        match socket::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(QUEUE_RETRY_DELAY).await
            }
            outcome => return outcome,
        }
    }
}

impl RunningServer {
    /// A connection for each command: people may take their time between two.
    async fn ask(&self, command: Command) -> Result<Response, Failure> {
        let (_, response) = self.send_command(command).await?;
        Ok(response)
    }

    /// The process id of the daemon.
    pub(super) fn process(&self) -> u32 {
        self.host.process
    }

    /// One command and its response, with their connection.
    pub(super) async fn send_command(
        &self,
        command: Command,
    ) -> Result<(UnixStream, Response), Failure> {
        let lost = |error: FrameError| {
            let (process, socket) = (self.host.process, self.socket.display());
            Failure::new(format!(
                "the running parlor (process {process}) did not answer at {socket}: {error}"
            ))
        };
        let (mut stream, greeting) = connect(&self.socket).await.map_err(lost)?;
        if let Greeting::Refused(why) = greeting {
            return Err(Failure::new(why));
        }
        let result = frame::write(&mut stream, &command, MAX_REQUEST_BYTES).await;
        result.map_err(|error| match error {
            FrameError::TooLarge { .. } => {
                Failure::usage(format!("the command is too long: {error}"))
            }
            error => lost(error),
        })?;
        let reply = timeout(
            RESPONSE_TIMEOUT,
            frame::read(&mut stream, MAX_RESPONSE_BYTES),
        )
        .await;
        let reply = reply.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        let outcome_unknown = |error| {
            let mut failure = lost(error);
            let message =
                "it may have carried the command out all the same: look before you repeat it";
            failure.problems.push(message.to_owned());
            failure
        };
        match reply.map_err(outcome_unknown)? {
            Outcome::Done(response) => Ok((stream, response)),
            Outcome::Failed(failure) => Err(failure),
        }
    }
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminClient::Running(running) => write!(f, "Running({})", running.socket.display()),
            AdminClient::Offline(_) => f.write_str("Alone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use tokio::net::UnixListener;

    fn socket_paths(root: &Path) -> SocketPaths {
        SocketPaths {
            state: root.join("state"),
            runtime: root.join("run"),
        }
    }

    #[test]
    fn a_configured_socket_is_the_only_one() {
        let root = tempfile::tempdir().unwrap();
        let socket_paths = socket_paths(root.path());
        let mut config = Config::default();
        let data_dir = root.path().join("data");
        let found = candidate_sockets(&config, &data_dir, &socket_paths);
        assert!(found.ends_with(&[
            data_dir.join("parlor.sock"),
            socket_paths.runtime.join("parlor.sock")
        ]));
        config.admin.socket = Some(root.path().join("own.sock"));
        let found = candidate_sockets(&config, &data_dir, &socket_paths);
        assert_eq!(found, [root.path().join("own.sock")]);
    }

    #[tokio::test]
    async fn a_directory_that_was_named_and_is_none_is_told_of_whoever_refuses_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let socket_paths = socket_paths(root.path());
        fs::create_dir(&socket_paths.runtime).unwrap();
        let listener = UnixListener::bind(socket::path_in(&socket_paths.runtime)).unwrap();
        let refusing = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let refusal = Greeting::Refused("not for you".to_owned());
                frame::write(&mut stream, &refusal, MAX_RESPONSE_BYTES)
                    .await
                    .unwrap();
            }
        });
        let mut config = Config::default();
        config.server.data_dir = Some(root.path().join("absent"));
        let failure = find(config.clone(), &socket_paths, true)
            .await
            .err()
            .expect("a failure");
        assert!(failure.problems[0].contains("absent"), "{failure:?}");
        // One that is there and can't be used.
        fs::write(root.path().join("absent"), "no directory").unwrap();
        let failure = find(config, &socket_paths, true)
            .await
            .err()
            .expect("a failure");
        assert_eq!(failure.problems, ["not for you"]);
        refusing.abort();
    }

    #[tokio::test]
    async fn a_directory_that_was_named_is_never_swapped_for_the_systems() {
        let root = tempfile::tempdir().unwrap();
        let socket_paths = socket_paths(root.path());
        fs::create_dir(&socket_paths.state).unwrap();
        let mut config = Config::default();
        config.server.data_dir = Some(root.path().join("absent"));
        let failure = find(config, &socket_paths, true)
            .await
            .err()
            .expect("a failure");
        assert!(failure.problems[0].contains("absent"), "{failure:?}");
    }
}
