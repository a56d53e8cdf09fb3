//! Classifies a connection by its listener, its first byte and ALPN: HTTP, WebSockets and TURN share a
//! port.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::accepted::{Classified, Protocol, is_turn, within};
use super::reject::AcceptError;
use super::stream::Stream;
use super::tls;

/// The content type of the TLS record that begins a handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The protocols that a listener accepts.
#[derive(Clone)]
pub enum ListenerMode {
    /// HTTP alone: the metrics.
    Http,
    /// HTTP and TURN.
    HttpAndTurn,
    /// TURN, and HTTP that is redirected to HTTPS.
    RedirectAndTurn,
    /// HTTP and TURN inside TLS. A connection without TLS is served as by
    /// [`ListenerMode::RedirectAndTurn`].
    HttpsAndTurn(Arc<ServerConfig>),
    /// TURN over TCP alone.
    Turn,
    /// TURN over TLS alone.
    TurnTls(Arc<ServerConfig>),
}

impl ListenerMode {
    /// Whether the classification waits for nothing from the client.
    pub fn is_immediate(&self) -> bool {
        matches!(self, ListenerMode::Turn)
    }
}

/// Classifies a connection after any PROXY header. `None` if it served an ACME validation and nothing
/// else follows (RFC 8737).
///
/// # Errors
/// The connection broke, sent nothing for `step_timeout`, or its TLS handshake failed.
pub async fn classify(
    stream: TcpStream,
    mode: &ListenerMode,
    step_timeout: Duration,
) -> Result<Option<Classified>, AcceptError> {
    if let ListenerMode::Turn = mode {
        return Ok(Some((Protocol::Turn, Stream::Plain(stream))));
    }
    if let ListenerMode::TurnTls(config) = mode {
        return Box::pin(tls::accept_turn(stream, config, step_timeout)).await;
    }
    let first = first_byte(&stream, step_timeout).await?;
    stream.set_nodelay(true)?;
    let protocol = match mode {
        // Boxed: a silent connection does not allocate memory for a session.
        ListenerMode::HttpsAndTurn(config) if first == TLS_HANDSHAKE => {
            return Box::pin(tls::accept(stream, config, step_timeout)).await;
        }
        ListenerMode::Http => Protocol::Http1 { redirect: false },
        _ if is_turn(first) => Protocol::Turn,
        ListenerMode::HttpAndTurn => Protocol::Http1 { redirect: false },
        _ => Protocol::Http1 { redirect: true },
    };
    Ok(Some((protocol, Stream::Plain(stream))))
}

/// Returns the first byte and leaves it in the socket.
async fn first_byte(stream: &TcpStream, step_timeout: Duration) -> io::Result<u8> {
    let mut first = [0];
    match within(step_timeout, stream.peek(&mut first)).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0]),
    }
}
