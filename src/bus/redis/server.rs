//! Connections to the Redis server.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    Value, cmd,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Limit of a connection with its handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection without a reply for this long is closed.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// An error of the connection. All of them end it.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("invalid URL of Redis: {0}")]
    Url(#[source] RedisError),
    #[error("{0} is no name of a server")]
    Name(String),
    #[error("cannot connect to Redis: {0}")]
    Connect(#[source] io::Error),
    #[error("Redis does not answer")]
    Timeout,
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("it has version {0}, and parlor needs 7 or newer")]
    Version(String),
    #[error("Redis answers in an unexpected way")]
    Reply,
}

/// Where the server is, and how to log in.
#[derive(Debug, Clone)]
pub struct Server {
    address: Address,
    login: RedisConnectionInfo,
}

#[derive(Debug, Clone)]
enum Address {
    Tcp(String, u16),
    Tls(String, u16, ServerName<'static>, Arc<ClientConfig>),
    Unix(PathBuf),
}

/// A connection; its task ends with it.
pub(super) struct Connection {
    pub redis: MultiplexedConnection,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Parses `redis://`, `rediss://` and `redis+unix://`. `tls` verifies the server of a `rediss://` URL.
    pub fn new(url: &str, tls: &Arc<ClientConfig>) -> Result<Server, LinkError> {
        let secure = url.strip_prefix("rediss://");
        // The crate parses `rediss` only with a TLS stack of its own.
        let plain = secure.map(|rest| format!("redis://{rest}"));
        let url = plain.as_deref().unwrap_or(url);
        let info = url.into_connection_info().map_err(LinkError::Url)?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) if secure.is_some() => {
                let name = ServerName::try_from(host.clone());
                let name = name.map_err(|_| LinkError::Name(host.clone()))?;
                Address::Tls(host.clone(), *port, name, tls.clone())
            }
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(LinkError::Name(url.to_owned())),
        };
        Ok(Server {
            address,
            login: info.redis_settings().clone(),
        })
    }

    /// Replaces the password of the URL.
    pub fn with_password(mut self, password: &str) -> Server {
        self.login = self.login.set_password(password);
        self
    }

    pub(super) async fn connect(&self) -> Result<Connection, LinkError> {
        let connected = timeout(CONNECT_TIMEOUT, async {
            match &self.address {
                Address::Tcp(host, port) => self.log_in(tcp(host, *port).await?).await,
                Address::Tls(host, port, name, config) => {
                    let connector = TlsConnector::from(config.clone());
                    let stream = connector.connect(name.clone(), tcp(host, *port).await?);
                    self.log_in(stream.await.map_err(LinkError::Connect)?).await
                }
                Address::Unix(path) => {
                    let stream = UnixStream::connect(path)
                        .await
                        .map_err(LinkError::Connect)?;
                    self.log_in(stream).await
                }
            }
        });
        connected.await.map_err(|_| LinkError::Timeout)?
    }

    async fn log_in(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Connection, LinkError> {
        // The node limits its waiting for each reply itself.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (redis, task) =
            MultiplexedConnection::new_with_config(&self.login, stream, config).await?;
        let task = AbortOnDropHandle::new(tokio::spawn(task));
        Ok(Connection { redis, _task: task })
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, LinkError> {
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(LinkError::Connect)?;
    stream.set_nodelay(true).map_err(LinkError::Connect)?;
    Ok(stream)
}

impl Connection {
    /// Loads the scripts, and returns the server's run id, which changes with each start of a server.
    pub(super) async fn prepare(&mut self, scripts: &[String]) -> Result<String, LinkError> {
        for text in scripts {
            let mut load = cmd("SCRIPT");
            self.redis
                .send_packed_command(load.arg("LOAD").arg(text))
                .await?;
        }
        let mut info = cmd("INFO");
        let reply = self.redis.send_packed_command(info.arg("server")).await?;
        let text = match reply {
            Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| LinkError::Reply)?,
            _ => return Err(LinkError::Reply),
        };
        let run_id = text.lines().find_map(|line| line.strip_prefix("run_id:"));
        run_id.map(str::to_owned).ok_or(LinkError::Reply)
    }
}
