//! Connections to the Redis server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, Value, cmd,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::inbox::text;
use crate::url::{Sentinels, SentinelsError};

/// Limit of a connection with its handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection without a reply for this long is closed.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// An error of the connection. All of them end it.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("invalid URL of Redis: {0}")]
    Url(#[source] RedisError),
    #[error("the URL {0}")]
    Sentinels(#[from] SentinelsError),
    #[error("the sentinel {0}: {1}")]
    Sentinel(String, Box<LinkError>),
    #[error("the sentinels know no service {0}")]
    Service(String),
    #[error("{0} is no master")]
    NotMaster(String),
    #[error("the connections lead to different servers")]
    Moved,
    #[error("{0} is no name of a server")]
    Name(String),
    #[error("cannot connect to Redis: {}", connect_reason(.0))]
    Connect(#[source] io::Error),
    #[error("Redis does not answer")]
    Timeout,
    #[error("Redis {}", reason(.0))]
    Redis(#[from] RedisError),
    #[error("it has version {0}, and parlor needs 7 or newer")]
    Version(String),
    #[error("Redis answers in an unexpected way")]
    Reply,
}

/// The likely cause of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The certificate of the server is by no trusted authority.
    Authority,
    /// The name or the password.
    Login,
    Other,
}

impl LinkError {
    pub fn cause(&self) -> Cause {
        match self {
            LinkError::Connect(error) if is_unknown_authority(error) => Cause::Authority,
            LinkError::Redis(error) if login_reason(error).is_some() => Cause::Login,
            LinkError::Sentinel(_, error) => error.cause(),
            _ => Cause::Other,
        }
    }

    /// Whether another attempt may succeed soon: the server starts, or another one takes its place.
    pub fn may_pass(&self) -> bool {
        match self {
            // An error of TLS, such as an unknown authority, is invalid data.
            LinkError::Connect(error) => error.kind() != io::ErrorKind::InvalidData,
            LinkError::Timeout | LinkError::NotMaster(_) => true,
            LinkError::Sentinel(_, error) => error.may_pass(),
            _ => false,
        }
    }
}

/// Errors of TLS name pages of a library, which help no admin.
fn connect_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

fn reason(error: &RedisError) -> String {
    match login_reason(error) {
        Some(reason) => reason.to_owned(),
        None if error.is_io_error() => "closed the connection".to_owned(),
        None => format!("answers: {error}"),
    }
}

/// Says why a login failed.
fn login_reason(error: &RedisError) -> Option<&'static str> {
    let text = error.to_string();
    if error.code() == Some("NOAUTH") || text.contains("NOAUTH") {
        return Some("wants a password");
    }
    let is_refused = error.kind() == ErrorKind::AuthenticationFailed || text.contains("WRONGPASS");
    is_refused.then_some("refuses the user name or the password")
}

fn is_unknown_authority(error: &io::Error) -> bool {
    use rustls::CertificateError as Reason;
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(reason)) = error else {
        return false;
    };
    !matches!(
        reason,
        Reason::NotValidForName
            | Reason::NotValidForNameContext { .. }
            | Reason::Expired
            | Reason::ExpiredContext { .. }
            | Reason::NotValidYet
            | Reason::NotValidYetContext { .. }
    )
}

/// Where the server is, and how to log in.
#[derive(Debug, Clone)]
pub struct Server {
    address: Address,
    pub(super) login: RedisConnectionInfo,
    /// Verifies the server; `None` without TLS.
    tls: Option<Arc<ClientConfig>>,
}

#[derive(Debug, Clone)]
enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
    Sentinels(Sentinels),
}

/// A connection; its task ends with it.
pub(super) struct Connection {
    pub redis: MultiplexedConnection,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Parses `redis://`, `rediss://`, `redis+unix://`, `redis+sentinel://` and `rediss+sentinel://`. `tls` verifies
    /// the server of a URL with TLS.
    pub fn new(url: &str, tls: &Arc<ClientConfig>) -> Result<Server, LinkError> {
        let sentinels = Sentinels::parse(url).transpose()?;
        let secure = url.strip_prefix("rediss://");
        let has_tls = sentinels
            .as_ref()
            .map_or(secure.is_some(), |known| known.has_tls);
        let plain = match (&sentinels, secure) {
            (Some(known), _) => known.login.clone(),
            // The crate parses `rediss` only with a TLS stack of its own.
            (None, Some(rest)) => format!("redis://{rest}"),
            (None, None) => url.to_owned(),
        };
        let info = plain.into_connection_info().map_err(LinkError::Url)?;
        let address = match (sentinels, info.addr()) {
            (Some(known), _) => Address::Sentinels(known),
            (None, ConnectionAddr::Tcp(host, port)) => Address::Tcp(host.clone(), *port),
            (None, ConnectionAddr::Unix(path)) => Address::Unix(path.clone()),
            _ => return Err(LinkError::Name(url.to_owned())),
        };
        if let Address::Tcp(host, _) = &address
            && has_tls
        {
            server_name(host)?;
        }
        Ok(Server {
            address,
            login: info.redis_settings().clone(),
            tls: has_tls.then(|| tls.clone()),
        })
    }

    /// The number of the database in the URL.
    pub fn database(&self) -> i64 {
        self.login.db()
    }

    /// Replaces the password of the URL.
    pub fn with_password(mut self, password: &str) -> Server {
        self.login = self.login.set_password(password);
        self
    }

    pub(super) async fn connect(&self) -> Result<Connection, LinkError> {
        let connected = match &self.address {
            Address::Tcp(host, port) => {
                timeout(CONNECT_TIMEOUT, self.open(host, *port, &self.login)).await
            }
            Address::Unix(path) => timeout(CONNECT_TIMEOUT, self.open_socket(path)).await,
            // Each sentinel has a limit of its own.
            Address::Sentinels(known) => return self.connect_to_master(known).await,
        };
        connected.map_err(|_| LinkError::Timeout)?
    }

    /// Connects to a server or a sentinel over TCP.
    pub(super) async fn open(
        &self,
        host: &str,
        port: u16,
        login: &RedisConnectionInfo,
    ) -> Result<Connection, LinkError> {
        let stream = tcp(host, port).await?;
        let Some(tls) = &self.tls else {
            return log_in(stream, login).await;
        };
        let connector = TlsConnector::from(tls.clone());
        let stream = connector.connect(server_name(host)?, stream).await;
        log_in(stream.map_err(LinkError::Connect)?, login).await
    }

    async fn open_socket(&self, path: &Path) -> Result<Connection, LinkError> {
        let stream = UnixStream::connect(path).await;
        log_in(stream.map_err(LinkError::Connect)?, &self.login).await
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, LinkError> {
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|_| LinkError::Name(host.to_owned()))
}

async fn log_in(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    login: &RedisConnectionInfo,
) -> Result<Connection, LinkError> {
    // The node limits its waiting for each reply itself.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (redis, task) = MultiplexedConnection::new_with_config(login, stream, config).await?;
    let task = AbortOnDropHandle::new(tokio::spawn(task));
    Ok(Connection { redis, _task: task })
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, LinkError> {
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(LinkError::Connect)?;
    stream.set_nodelay(true).map_err(LinkError::Connect)?;
    Ok(stream)
}

impl Connection {
    /// Runs a command. An error of the server is an error here.
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value, LinkError> {
        let reply = self.redis.send_packed_command(command).await?;
        Ok(reply.extract_error()?)
    }

    /// Loads the scripts, and returns the server's run id.
    pub(super) async fn prepare(&mut self, scripts: &[String]) -> Result<String, LinkError> {
        for text in scripts {
            self.ask(cmd("SCRIPT").arg("LOAD").arg(text)).await?;
        }
        self.run_id().await
    }

    /// The run id, which changes with each start of a server.
    pub(super) async fn run_id(&mut self) -> Result<String, LinkError> {
        let reply = self.ask(cmd("INFO").arg("server")).await?;
        let text = text(reply).ok_or(LinkError::Reply)?;
        let run_id = text.lines().find_map(|line| line.strip_prefix("run_id:"));
        run_id.map(str::to_owned).ok_or(LinkError::Reply)
    }
}
