//! Reads of what all nodes share, each over a connection of its own.

use redis::{Cmd, Value, cmd};
use tokio::time::timeout;

use super::inbox::text;
use super::server::{LinkError, RESPONSE_TIMEOUT, Server};

/// The oldest version with all commands of the scripts.
const MIN_VERSION: u32 = 7;

impl Server {
    /// Checks that the server answers, and that its version is new enough.
    pub async fn probe(&self) -> Result<(), LinkError> {
        let mut command = cmd("INFO");
        command.arg("server");
        let reply = self.ask(&command).await?;
        let info = text(reply).ok_or(LinkError::Reply)?;
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"))
            .ok_or(LinkError::Reply)?;
        let major = version.split('.').next().and_then(|text| text.parse().ok());
        if major.is_some_and(|major: u32| major < MIN_VERSION) {
            return Err(LinkError::Version(version.to_owned()));
        }
        Ok(())
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, LinkError> {
        let mut connection = self.connect().await?;
        let reply = timeout(RESPONSE_TIMEOUT, connection.ask(command)).await;
        reply.map_err(|_| LinkError::Timeout)?
    }
}
