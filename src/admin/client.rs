//! The client side: sends commands to the running server, or executes them on the database.

pub(super) mod drain;
mod find;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::command::AdminCommand;
use super::context::Context;
use super::execute::execute;
use super::failure::Failure;
use super::framing::{self, FrameError, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use super::messages::{Greeting, Outcome, ServerInfo};
use super::response::Response;
use super::socket;

pub use find::{SocketPaths, Target, find};

/// Timeout for the greeting, which the server sends at once.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay before the next attempt if the socket's accept queue is full.
const QUEUE_RETRY_DELAY: Duration = Duration::from_millis(10);
/// Timeout for the response: longer than the server's own timeout for a command.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(75);

/// Executes commands.
pub enum AdminClient {
    /// Sends them to a server.
    Running(RunningServer),
    /// Executes them on the database.
    Offline(Context),
}

/// A server that accepted this client.
pub struct RunningServer {
    socket: PathBuf,
    info: ServerInfo,
}

impl AdminClient {
    pub async fn send(&self, command: AdminCommand) -> Result<Response, Failure> {
        match self {
            AdminClient::Running(server) => {
                let (_, response) = server.send(command).await?;
                Ok(response)
            }
            AdminClient::Offline(context) => execute(context, command).await,
        }
    }
}

impl RunningServer {
    /// Sends one command over a connection of its own: a person may wait between two commands for
    /// longer than the server keeps an idle connection. Returns the connection with the response.
    async fn send(&self, command: AdminCommand) -> Result<(UnixStream, Response), Failure> {
        let lost = |error: FrameError| {
            let (process, socket) = (self.info.process, self.socket.display());
            Failure::new(format!(
                "the server (process {process}) did not answer at {socket}: {error}"
            ))
        };
        let (mut stream, greeting) = connect(&self.socket).await.map_err(lost)?;
        if let Greeting::Refused(reason) = greeting {
            return Err(Failure::new(reason));
        }
        let sent = framing::write(&mut stream, &command, MAX_REQUEST_BYTES).await;
        sent.map_err(|error| match error {
            FrameError::TooLarge { .. } => {
                Failure::usage(format!("the command is too long: {error}"))
            }
            error => lost(error),
        })?;
        let outcome = timeout(
            RESPONSE_TIMEOUT,
            framing::read(&mut stream, MAX_RESPONSE_BYTES),
        );
        let outcome = outcome.await;
        let outcome =
            outcome.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        match outcome {
            Ok(Outcome::Done(response)) => Ok((stream, response)),
            Ok(Outcome::Failed(failure)) => Err(failure),
            Err(error) => {
                let mut failure = lost(error);
                failure.problems.push(
                    "it may have executed the command all the same: check before you repeat it"
                        .to_owned(),
                );
                Err(failure)
            }
        }
    }
}

/// Connects to a socket and reads the greeting.
async fn connect(path: &Path) -> Result<(UnixStream, Greeting), FrameError> {
    let greeted = timeout(GREETING_TIMEOUT, async {
        let mut stream = connect_with_retry(path).await?;
        let greeting = framing::read(&mut stream, MAX_RESPONSE_BYTES).await?;
        Ok((stream, greeting))
    });
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    greeted.await.map_err(timed_out)?
}

/// A non-blocking connect fails while the accept queue is full; the kernel reports no later readiness.
async fn connect_with_retry(path: &Path) -> io::Result<UnixStream> {
    loop {
        match socket::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(QUEUE_RETRY_DELAY).await;
            }
            outcome => return outcome,
        }
    }
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminClient::Running(server) => write!(f, "Running({})", server.socket.display()),
            AdminClient::Offline(_) => f.write_str("Offline"),
        }
    }
}
