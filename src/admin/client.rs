//! The side of whoever types a command: finds the running daemon, or the database where none runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::storage::data_dir::{self, DataDir, DataDirError};

use super::answer::Answer;
use super::command::Command;
use super::context::{Alone, Context};
use super::failure::Failure;
use super::frame::{self, FrameError, Greeting, Host, REPLY, REQUEST, Reply};
use super::server::directory;
use super::socket;

/// Timeout for the greeting, which the daemon sends at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before the next try, where the queue is full.
const AGAIN: Duration = Duration::from_millis(10);
/// For a reply; a little more than the daemon takes to give up.
const WORK: Duration = Duration::from_secs(75);

/// Where a parlor may be that systemd runs, when the environment does not say.
#[derive(Debug, Clone)]
pub struct Places {
    /// Of the data.
    pub state: PathBuf,
    /// Of the socket.
    pub runtime: PathBuf,
}

impl Default for Places {
    fn default() -> Places {
        Places {
            state: PathBuf::from("/var/lib/parlor"),
            runtime: PathBuf::from("/run/parlor"),
        }
    }
}

/// Who carries commands out.
pub enum Desk {
    Running(Running),
    Alone(Context),
}

/// A daemon that answered.
pub struct Running {
    socket: PathBuf,
    host: Host,
}

/// A desk, and what has to be said about it.
pub struct Found {
    pub desk: Desk,
    pub remark: Option<String>,
}

/// Looks for the daemon of the data directory that configuration and environment name; where they
/// name none, of the user's own or else of the system's.
///
/// # Errors
/// There is neither a daemon nor a directory, or the daemon rejects this user. Or the directory has no
/// database, unless the command `may_begin` one.
pub async fn find(config: Config, places: &Places, may_begin: bool) -> Result<Found, Failure> {
    let named = data_dir::named(&config.server);
    let data_dir = match &named {
        Some(path) => path.clone(),
        None => unnamed(&config, places)?,
    };
    let mut forbidden = None;
    for path in sockets(&config, &data_dir, places) {
        let host = match greeting(&path).await {
            Caller::Welcome(host) => host,
            Caller::Refused(why) => {
                forbidden = Some(why);
                continue;
            }
            Caller::Nobody => continue,
        };
        let same = directory(&data_dir).is_ok_and(|ours| ours == host.directory);
        let only_one = named.is_none() && !data_dir.exists();
        if same || only_one {
            let theirs = &host.data_dir;
            let expected = named.is_some() || data_dir == own(&config)?;
            let remark = format!("On the running parlor that keeps its data in {theirs}.");
            let remark = (!expected || only_one).then_some(remark);
            let desk = Desk::Running(Running { socket: path, host });
            return Ok(Found { desk, remark });
        }
    }
    // Whoever may use the database needs nobody's permission; and none makes a directory that was
    // named and does not exist.
    let missing = named.is_some() && matches!(data_dir.try_exists(), Ok(false));
    let forbidden = forbidden.filter(|_| !missing);
    alone(config, &data_dir, may_begin)
        .map_err(|failure| forbidden.map_or(failure, Failure::refused))
}

impl Desk {
    pub async fn ask(&self, command: Command) -> Result<Answer, Failure> {
        match self {
            Desk::Running(running) => running.ask(command).await,
            Desk::Alone(context) => super::carry_out(context, command).await,
        }
    }
}

/// Without a daemon: the database itself.
fn alone(config: Config, data_dir: &Path, may_begin: bool) -> Result<Found, Failure> {
    let existing = DataDir::existing(data_dir)?;
    if !may_begin && !existing.has_database() {
        return Err(Failure::refused(format!(
            "no parlor has run in {}: there is no database, which `parlor serve` makes",
            data_dir.display()
        )));
    }
    let busy = existing.is_served();
    let context = Context::Alone(Box::new(Alone::open(config, data_dir, busy)?));
    let path = data_dir.display();
    let remark = match busy {
        true => format!(
            "On the database in {path}: the parlor that runs there does not answer at its socket, \
             but takes notice within a second."
        ),
        false => format!("On the database in {path}: no parlor runs there."),
    };
    Ok(Found {
        desk: Desk::Alone(context),
        remark: Some(remark),
    })
}

/// The user's own directory where there is one, else the system's where there is that.
fn unnamed(config: &Config, places: &Places) -> Result<PathBuf, DataDirError> {
    let own = own(config)?;
    match !own.exists() && places.state.exists() {
        true => Ok(places.state.clone()),
        false => Ok(own),
    }
}

fn own(config: &Config) -> Result<PathBuf, DataDirError> {
    data_dir::resolve(&config.server)
}

/// Where the daemon may listen, most likely first.
fn sockets(config: &Config, data_dir: &Path, places: &Places) -> Vec<PathBuf> {
    if let Some(path) = &config.admin.socket {
        return vec![path.clone()];
    }
    let environment = socket::of_environment();
    let mut sockets: Vec<_> = environment.into_iter().collect();
    for directory in [data_dir, &places.runtime] {
        let path = socket::inside(directory);
        if !sockets.contains(&path) {
            sockets.push(path);
        }
    }
    sockets
}

/// Who is at a socket.
enum Caller {
    Welcome(Host),
    /// A daemon that does not listen to this user; the sentence says so.
    Refused(String),
    Nobody,
}

async fn greeting(path: &Path) -> Caller {
    match connect(path).await {
        Ok((_, Greeting::Welcome(host))) => Caller::Welcome(host),
        Ok((_, Greeting::Refused(why))) => Caller::Refused(why),
        Err(FrameError::Broken(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Caller::Refused(format!(
                "{} is for root and for the user that parlor runs as: put sudo in front",
                path.display()
            ))
        }
        Err(_) => Caller::Nobody,
    }
}

async fn connect(path: &Path) -> Result<(UnixStream, Greeting), FrameError> {
    let greeted = timeout(PATIENCE, async {
        let mut stream = queue(path).await?;
        let greeting = frame::read(&mut stream, REPLY).await?;
        Ok((stream, greeting))
    });
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    greeted.await.map_err(late)?
}

/// Where the queue of the socket is full, the kernel has us come again instead of wait.
async fn queue(path: &Path) -> io::Result<UnixStream> {
    loop {
        match socket::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(AGAIN).await,
            outcome => return outcome,
        }
    }
}

impl Running {
    /// A connection for each command: people may take their time between two.
    async fn ask(&self, command: Command) -> Result<Answer, Failure> {
        let (_, answer) = self.exchange(command).await?;
        Ok(answer)
    }

    /// The process id of the daemon.
    pub(super) fn process(&self) -> u32 {
        self.host.process
    }

    /// One command and its response, with their connection.
    pub(super) async fn exchange(&self, command: Command) -> Result<(UnixStream, Answer), Failure> {
        let lost = |error: FrameError| {
            let (process, socket) = (self.host.process, self.socket.display());
            Failure::refused(format!(
                "the running parlor (process {process}) did not answer at {socket}: {error}"
            ))
        };
        let (mut stream, greeting) = connect(&self.socket).await.map_err(lost)?;
        if let Greeting::Refused(why) = greeting {
            return Err(Failure::refused(why));
        }
        let asked = frame::write(&mut stream, &command, REQUEST).await;
        asked.map_err(|error| match error {
            FrameError::TooLarge { .. } => {
                Failure::usage(format!("the command is too long: {error}"))
            }
            error => lost(error),
        })?;
        let reply = timeout(WORK, frame::read(&mut stream, REPLY)).await;
        let reply = reply.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        let untold = |error| {
            let mut failure = lost(error);
            let told =
                "it may have carried the command out all the same: look before you repeat it";
            failure.problems.push(told.to_owned());
            failure
        };
        match reply.map_err(untold)? {
            Reply::Done(answer) => Ok((stream, answer)),
            Reply::Failed(failure) => Err(failure),
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Desk::Running(running) => write!(f, "Running({})", running.socket.display()),
            Desk::Alone(_) => f.write_str("Alone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use tokio::net::UnixListener;

    fn places(root: &Path) -> Places {
        Places {
            state: root.join("state"),
            runtime: root.join("run"),
        }
    }

    #[test]
    fn a_configured_socket_is_the_only_one() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let mut config = Config::default();
        let data_dir = root.path().join("data");
        let found = sockets(&config, &data_dir, &places);
        assert!(found.ends_with(&[
            data_dir.join("parlor.sock"),
            places.runtime.join("parlor.sock")
        ]));
        config.admin.socket = Some(root.path().join("own.sock"));
        let found = sockets(&config, &data_dir, &places);
        assert_eq!(found, [root.path().join("own.sock")]);
    }

    #[tokio::test]
    async fn a_directory_that_was_named_and_is_none_is_told_of_whoever_refuses_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::create_dir(&places.runtime).unwrap();
        let listener = UnixListener::bind(socket::inside(&places.runtime)).unwrap();
        let refusing = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let refusal = Greeting::Refused("not for you".to_owned());
                frame::write(&mut stream, &refusal, REPLY).await.unwrap();
            }
        });
        let mut config = Config::default();
        config.server.data_dir = Some(root.path().join("absent"));
        let failure = find(config.clone(), &places, true)
            .await
            .err()
            .expect("a failure");
        assert!(failure.problems[0].contains("absent"), "{failure:?}");
        // One that is there and can't be used.
        fs::write(root.path().join("absent"), "no directory").unwrap();
        let failure = find(config, &places, true).await.err().expect("a failure");
        assert_eq!(failure.problems, ["not for you"]);
        refusing.abort();
    }

    #[tokio::test]
    async fn a_directory_that_was_named_is_never_swapped_for_the_systems() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::create_dir(&places.state).unwrap();
        let mut config = Config::default();
        config.server.data_dir = Some(root.path().join("absent"));
        let failure = find(config, &places, true).await.err().expect("a failure");
        assert!(failure.problems[0].contains("absent"), "{failure:?}");
    }
}
