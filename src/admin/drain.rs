//! `parlor drain`: begins a drain, and reports its progress and its result to the client.
//!
//! After the reply, the daemon sends [`DrainProgress`] messages over the same connection. It keeps the
//! connection open until its process ends, so that the client notices the end of the process.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::client::{AdminClient, RunningServer};
use super::command::{Command, Lifetime};
use super::context::Context;
use super::failure::Failure;
use super::frame::{self, FrameError, MAX_RESPONSE_BYTES};
use super::response::Response;
use crate::config::duration;

/// Interval between two progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout for the client to receive a message, and for the daemon to send one.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The state of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainProgress {
    pub connections: u64,
    pub relays: u64,
    /// Time since the drain began.
    pub seconds: u64,
    /// How many relays ended with the drain; `None` until it has ended.
    pub cut_off: Option<u64>,
}

/// A drain whose process has ended.
pub struct DrainResult {
    pub response: Response,
    pub cut_off: u64,
}

/// Begins a drain in the daemon.
pub fn begin(context: &Context, span: Duration) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let connections = server.app.hub.connections().len();
    let relays = server.app.relay.allocations();
    if !(server.drain)(span) {
        return Err(Failure::new("the running parlor drains already"));
    }
    let json = json!({
        "connections": connections,
        "relays": relays,
        "timeout": span.as_secs(),
    });
    let text = format!(
        "Draining: {connections} connections and {relays} relays may finish within {}",
        duration::format(span)
    );
    Ok(Response::new(json, text))
}

/// Sends the progress of the drain to a waiting client until the drain has ended.
pub async fn stream_progress(
    mut connection: UnixStream,
    mut progress: watch::Receiver<Option<DrainProgress>>,
) {
    if progress.wait_for(Option::is_some).await.is_err() {
        return;
    }
    loop {
        let Some(now) = *progress.borrow_and_update() else {
            return;
        };
        let sent = timeout(
            MESSAGE_TIMEOUT,
            frame::write(&mut connection, &now, MAX_RESPONSE_BYTES),
        )
        .await;
        if !matches!(sent, Ok(Ok(()))) {
            return; // the client did not wait
        }
        if now.cut_off.is_some() {
            break;
        }
        let ended = progress.wait_for(|one| one.is_some_and(|one| one.cut_off.is_some()));
        if let Ok(Err(_)) = timeout(PROGRESS_INTERVAL, ended).await {
            return;
        }
    }
    if let Ok(connection) = connection.into_std() {
        // The kernel closes the connection when the process ends; the client waits for that.
        std::mem::forget(connection);
    }
}

impl AdminClient {
    /// Drains the running daemon and waits until its process has ended. `show_progress` is called about once
    /// a second.
    ///
    /// # Errors
    /// No daemon drains for this command, or it does not report the result of its drain.
    pub async fn drain(
        &self,
        time: Lifetime,
        show_progress: impl FnMut(&DrainProgress),
    ) -> Result<DrainResult, Failure> {
        let command = Command::Drain { timeout: time };
        match self {
            AdminClient::Running(running) => running.drain(command, show_progress).await,
            AdminClient::Offline(context) => {
                let response = super::execute(context, command).await?;
                Ok(DrainResult {
                    response,
                    cut_off: 0,
                })
            }
        }
    }
}

impl RunningServer {
    async fn drain(
        &self,
        command: Command,
        mut show_progress: impl FnMut(&DrainProgress),
    ) -> Result<DrainResult, Failure> {
        let (mut connection, response) = self.send_command(command).await?;
        let mut last = None;
        loop {
            match read_progress(&mut connection).await {
                Ok(progress) => {
                    show_progress(&progress);
                    last = Some(progress);
                }
                Err(error) if is_disconnect(&error) => break,
                Err(error) => return Err(self.outcome_unknown(&error.to_string())),
            }
        }
        match last {
            Some(DrainProgress {
                seconds,
                cut_off: Some(cut_off),
                ..
            }) => Ok(DrainResult {
                response: final_response(response, seconds, cut_off),
                cut_off,
            }),
            Some(_) => Err(self.outcome_unknown("its process has ended")),
            None => Ok(DrainResult {
                response: response.remark(
                    "the running parlor is an older one, which does not tell how its drain goes: \
                     `parlor status` tells whether it still runs",
                ),
                cut_off: 0,
            }),
        }
    }

    fn outcome_unknown(&self, why: &str) -> Failure {
        Failure::new(format!(
            "the running parlor (process {}) did not tell how its drain ended: {why}",
            self.process()
        ))
    }
}

async fn read_progress(connection: &mut UnixStream) -> Result<DrainProgress, FrameError> {
    let read = timeout(MESSAGE_TIMEOUT, frame::read(connection, MAX_RESPONSE_BYTES)).await;
    read.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

fn is_disconnect(error: &FrameError) -> bool {
    matches!(error, FrameError::Broken(error)
        if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset))
}

/// Makes the response of an ended drain from its first response.
fn final_response(begun: Response, seconds: u64, cut_off: u64) -> Response {
    let mut json = begun.json;
    json["seconds"] = seconds.into();
    json["cut_off"] = cut_off.into();
    let time = duration::format(Duration::from_secs(seconds));
    let text = match cut_off {
        0 => format!("Drained in {time}: nobody was cut off"),
        1 => format!("Ended after {time}: 1 relay was cut off"),
        _ => format!("Ended after {time}: {cut_off} relays were cut off"),
    };
    Response::new(json, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::net::UnixListener;

    use crate::admin::client::{SocketPaths, Target, find};
    use crate::admin::frame::{Greeting, MAX_REQUEST_BYTES, Outcome, ServerInfo};
    use crate::admin::server::directory;
    use crate::admin::socket;
    use crate::config::Config;

    /// The client's result after the daemon has sent these messages and ended.
    async fn drain_result(messages: &[DrainProgress]) -> Result<DrainResult, Failure> {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket::path_in(root.path())).unwrap();
        let host = ServerInfo {
            version: "0.0.1".to_owned(),
            process: 1,
            data_dir: root.path().display().to_string(),
            directory: directory(root.path()).unwrap(),
        };
        let messages = messages.to_vec();
        let daemon = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let greeting = Greeting::Welcome(host.clone());
                frame::write(&mut stream, &greeting, MAX_RESPONSE_BYTES)
                    .await
                    .unwrap();
                if frame::read::<Command>(&mut stream, MAX_REQUEST_BYTES)
                    .await
                    .is_err()
                {
                    continue; // only looked who is there
                }
                let begun = Response::new(json!({"connections": 2, "relays": 1}), "");
                frame::write(&mut stream, &Outcome::Done(begun), MAX_RESPONSE_BYTES)
                    .await
                    .unwrap();
                for message in &messages {
                    frame::write(&mut stream, message, MAX_RESPONSE_BYTES)
                        .await
                        .unwrap();
                }
            }
        });
        let mut config = Config::default();
        config.server.data_dir = Some(root.path().to_owned());
        let Target { client, .. } = find(config, &SocketPaths::default(), false).await?;
        let drained = client.drain(Lifetime::try_from(60).unwrap(), |_| ()).await;
        daemon.abort();
        drained
    }

    fn progress(cut_off: Option<u64>) -> DrainProgress {
        DrainProgress {
            connections: 0,
            relays: 1,
            seconds: 60,
            cut_off,
        }
    }

    #[tokio::test]
    async fn an_end_is_told_with_those_who_were_cut_off() {
        let drained = drain_result(&[progress(None), progress(Some(3))])
            .await
            .unwrap();
        assert_eq!(drained.cut_off, 3);
        let expected = json!({"connections": 2, "relays": 1, "seconds": 60, "cut_off": 3});
        assert_eq!(drained.response.json, expected);
    }

    #[tokio::test]
    async fn an_older_server_that_tells_no_progress_is_named_as_such() {
        let drained = drain_result(&[]).await.unwrap();
        assert_eq!(drained.cut_off, 0);
        assert!(drained.response.remarks[0].contains("older"));
    }

    #[tokio::test]
    async fn a_server_that_ends_without_a_word_is_a_failure() {
        let failure = drain_result(&[progress(None)])
            .await
            .err()
            .expect("a failure");
        assert!(failure.problems[0].contains("did not tell how its drain ended"));
    }
}
