//! `parlor drain` in the client: waits for the end of the server and reports the result.

use std::io;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{AdminClient, RunningServer};
use crate::admin::command::{AdminCommand, Lifetime, ServerCommand};
use crate::admin::execute::execute;
use crate::admin::failure::Failure;
use crate::admin::framing::{self, FrameError, MAX_RESPONSE_BYTES};
use crate::admin::messages::DrainProgress;
use crate::admin::response::Response;
use crate::config::duration;

/// Timeout for a message of the server.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The result of a drain whose server process has ended.
pub struct DrainResult {
    pub response: Response,
    /// Number of relays that were interrupted.
    pub interrupted: u64,
}

impl AdminClient {
    /// Drains the server and waits until its process has ended. Calls `show_progress` about once a
    /// second.
    ///
    /// # Errors
    /// No server drains for this command, or it does not report the result of its drain.
    pub async fn drain(
        &self,
        limit: Lifetime,
        show_progress: impl FnMut(&DrainProgress),
    ) -> Result<DrainResult, Failure> {
        let command = AdminCommand::Server(ServerCommand::Drain {
            timeout: limit,
            detach: false,
        });
        match self {
            AdminClient::Running(server) => server.drain(command, show_progress).await,
            AdminClient::Offline(context) => {
                let response = execute(context, command).await?;
                Ok(DrainResult {
                    response,
                    interrupted: 0,
                })
            }
        }
    }
}

impl RunningServer {
    async fn drain(
        &self,
        command: AdminCommand,
        mut show_progress: impl FnMut(&DrainProgress),
    ) -> Result<DrainResult, Failure> {
        let (mut connection, response) = self.send(command).await?;
        let mut last = None;
        loop {
            match read_progress(&mut connection).await {
                Ok(progress) => {
                    show_progress(&progress);
                    last = Some(progress);
                }
                Err(error) if is_disconnect(&error) => break,
                Err(error) => return Err(self.result_unknown(&error.to_string())),
            }
        }
        match last {
            Some(DrainProgress {
                seconds,
                interrupted: Some(interrupted),
                ..
            }) => Ok(DrainResult {
                response: final_response(response, seconds, interrupted),
                interrupted,
            }),
            Some(_) => Err(self.result_unknown("its process has ended")),
            None => Ok(DrainResult {
                response: response.remark(
                    "The server is an older version, which reports no progress: `parlor status` \
                     shows whether it is still running.",
                ),
                interrupted: 0,
            }),
        }
    }

    fn result_unknown(&self, reason: &str) -> Failure {
        Failure::new(format!(
            "the server (process {}) did not report the result of the drain: {reason}",
            self.info.process
        ))
    }
}

async fn read_progress(connection: &mut UnixStream) -> Result<DrainProgress, FrameError> {
    let read = timeout(
        MESSAGE_TIMEOUT,
        framing::read(connection, MAX_RESPONSE_BYTES),
    );
    let read = read.await;
    read.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

fn is_disconnect(error: &FrameError) -> bool {
    matches!(error, FrameError::Broken(error)
        if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset))
}

/// Returns the first response with the result of the drain added.
fn final_response(begun: Response, seconds: u64, interrupted: u64) -> Response {
    let mut json = begun.json;
    json["seconds"] = seconds.into();
    json["cut_off"] = interrupted.into();
    let time = duration::format(Duration::from_secs(seconds));
    let text = match interrupted {
        0 => format!("Drained in {time}: no relay was interrupted"),
        1 => format!("Stopped after {time}: 1 relay was interrupted"),
        _ => format!("Stopped after {time}: {interrupted} relays were interrupted"),
    };
    Response::new(json, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;
    use tokio::net::UnixListener;

    use crate::admin::client::{SocketPaths, Target, find};
    use crate::admin::command::WithoutServer;
    use crate::admin::framing::MAX_REQUEST_BYTES;
    use crate::admin::messages::{DirectoryId, Greeting, Outcome, ServerInfo};
    use crate::admin::socket;
    use crate::config::Config;

    /// Returns the client's result for a server that sends these messages and ends.
    async fn drain_result(messages: &[DrainProgress]) -> Result<DrainResult, Failure> {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket::path_in(root.path())).unwrap();
        let info = ServerInfo {
            version: "0.0.1".to_owned(),
            process: 1,
            data_dir: root.path().display().to_string(),
            directory: DirectoryId::of(root.path()).unwrap(),
        };
        let messages = messages.to_vec();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let greeting = Greeting::Welcome(info.clone());
                framing::write(&mut stream, &greeting, MAX_RESPONSE_BYTES)
                    .await
                    .unwrap();
                if framing::read::<AdminCommand>(&mut stream, MAX_REQUEST_BYTES)
                    .await
                    .is_err()
                {
                    continue; // a probe
                }
                let begun = Response::new(json!({"connections": 2, "relays": 1}), "");
                framing::write(&mut stream, &Outcome::Done(begun), MAX_RESPONSE_BYTES)
                    .await
                    .unwrap();
                for message in &messages {
                    framing::write(&mut stream, message, MAX_RESPONSE_BYTES)
                        .await
                        .unwrap();
                }
            }
        });
        let mut config = Config::default();
        config.server.data_dir = Some(root.path().to_owned());
        let Target { client, .. } =
            find(config, &SocketPaths::default(), WithoutServer::Fails).await?;
        let result = client.drain(Lifetime::try_from(60).unwrap(), |_| ()).await;
        server.abort();
        result
    }

    fn progress(interrupted: Option<u64>) -> DrainProgress {
        DrainProgress {
            connections: 0,
            relays: 1,
            seconds: 60,
            interrupted,
        }
    }

    #[tokio::test]
    async fn the_result_of_a_drain_has_the_number_of_interrupted_relays() {
        let drained = drain_result(&[progress(None), progress(Some(3))])
            .await
            .unwrap();
        assert_eq!(drained.interrupted, 3);
        let expected = json!({"connections": 2, "relays": 1, "seconds": 60, "cut_off": 3});
        assert_eq!(drained.response.json, expected);
    }

    #[tokio::test]
    async fn an_older_server_that_sends_no_progress_is_reported() {
        let drained = drain_result(&[]).await.unwrap();
        assert_eq!(drained.interrupted, 0);
        assert!(drained.response.remarks[0].contains("older version"));
    }

    #[tokio::test]
    async fn a_server_that_ends_without_a_result_is_a_failure() {
        let failure = drain_result(&[progress(None)])
            .await
            .err()
            .expect("a failure");
        assert!(failure.problems[0].contains("did not report the result of the drain"));
    }
}
