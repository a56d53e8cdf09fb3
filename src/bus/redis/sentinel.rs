//! Redis Sentinel: it names the server that is the master now.

use std::time::Duration;

use redis::{RedisConnectionInfo, Value, cmd};
use tokio::time::timeout;

use super::inbox::{array, text};
use super::server::{Connection, LinkError, Server};
use crate::url::Sentinels;

/// Limit of a question to a sentinel, and of the connection to the server that it names.
const SENTINEL_TIMEOUT: Duration = Duration::from_secs(1);

impl Server {
    /// Connects to the master. Asks one sentinel after another, until the server that one names says itself that it
    /// is a master.
    pub(super) async fn connect_to_master(
        &self,
        known: &Sentinels,
    ) -> Result<Connection, LinkError> {
        let mut last = LinkError::Timeout;
        for (host, port) in &known.sentinels {
            let error = match self.ask_for_master(host, *port, &known.service).await {
                Ok(Some((master, port))) => match self.open_master(&master, port).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => error,
                },
                Ok(None) => LinkError::Service(known.service.clone()),
                Err(error) => LinkError::Sentinel(host.clone(), Box::new(error)),
            };
            last = error;
        }
        Err(last)
    }

    async fn ask_for_master(
        &self,
        host: &str,
        port: u16,
        service: &str,
    ) -> Result<Option<(String, u16)>, LinkError> {
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let nobody = RedisConnectionInfo::default();
        let answer = match self.ask_sentinel(host, port, &nobody, &ask).await {
            Err(LinkError::Redis(error)) if error.code() == Some("NOAUTH") => {
                // It has a password, which is that of the server.
                let login = self.login.clone().set_db(0);
                self.ask_sentinel(host, port, &login, &ask).await?
            }
            answer => answer?,
        };
        let mut address = array(answer).into_iter().filter_map(text);
        let (Some(host), Some(port)) = (address.next(), address.next()) else {
            return Ok(None);
        };
        let port = port.parse().map_err(|_| LinkError::Reply)?;
        Ok(Some((host, port)))
    }

    async fn ask_sentinel(
        &self,
        host: &str,
        port: u16,
        login: &RedisConnectionInfo,
        ask: &redis::Cmd,
    ) -> Result<Value, LinkError> {
        let asking = async {
            let mut sentinel = self.open(host, port, login).await?;
            sentinel.ask(ask).await
        };
        let answer = timeout(SENTINEL_TIMEOUT, asking).await;
        answer.map_err(|_| LinkError::Timeout)?
    }

    /// Connects to a server that a sentinel names. A sentinel may not know yet that it is a replica now.
    async fn open_master(&self, host: &str, port: u16) -> Result<Connection, LinkError> {
        let opening = async {
            let mut server = self.open(host, port, &self.login).await?;
            let role = server.ask(&cmd("ROLE")).await?;
            let role = array(role).into_iter().next().and_then(text);
            match role.as_deref() {
                Some("master") => Ok(server),
                _ => Err(LinkError::NotMaster(format!("{host}:{port}"))),
            }
        };
        let opened = timeout(SENTINEL_TIMEOUT, opening).await;
        opened.map_err(|_| LinkError::Timeout)?
    }
}
