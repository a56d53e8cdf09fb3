//! What a connection passes before its first request: the header of a proxy in front, its first byte,
//! the handshake of TLS. HTTP, WebSockets and TURN share a port, and here they are told apart.
//!
//! Each step has `http.header_timeout`, whatever the client does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::stream::Stream;
use crate::config;
use crate::proxy_protocol::{self, HeaderError};
use crate::tls;

/// The type of the record that every handshake begins with (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// What is spoken at a listener.
#[derive(Clone)]
pub enum Front {
    /// HTTP alone: the metrics.
    Inside,
    /// HTTP and TURN.
    Plain,
    /// TURN, and HTTP that is sent on to where TLS is spoken.
    Redirect,
    /// Everything, within TLS. Who begins without a handshake is met as at [`Front::Redirect`].
    Tls(Arc<ServerConfig>),
}

/// Somebody who has come in.
pub struct Guest {
    /// Who it is: the TCP peer, or whom a trusted proxy named.
    pub client: SocketAddr,
    pub errand: Errand,
}

/// What somebody has come for.
pub enum Errand {
    Http {
        stream: Stream,
        version: Version,
        /// Whether requests are sent on to where TLS is spoken.
        redirect: bool,
    },
    /// With the session, where it is within TLS. Nothing of it has been taken out of either.
    Turn(TcpStream, Option<Box<ServerConnection>>),
    /// A handshake was all: an authority has looked at the certificate of a challenge (RFC 8737).
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// Why a connection led nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Stray {
    /// A trusted proxy named no client.
    #[error("{0}")]
    Unannounced(HeaderError),
    #[error("no handshake of TLS: {0}")]
    Handshake(io::Error),
    #[error("{0}")]
    Silent(#[from] io::Error),
}

/// Lets a connection in.
///
/// # Errors
/// It broke, said nothing in time, or what it said is nothing that can be served.
pub async fn enter(
    mut stream: TcpStream,
    peer: SocketAddr,
    front: &Front,
    http: &config::Http,
) -> Result<Guest, Stray> {
    let patience = http.header_timeout;
    let mut client = peer;
    let on = http.proxy_protocol && !matches!(front, Front::Inside);
    if proxy_protocol::is_due(on, &http.trusted_proxies, peer.ip()) {
        let named = proxy_protocol::read(&mut stream, patience).await;
        client = named.map_err(Stray::Unannounced)?.unwrap_or(peer);
    }
    let first = first_byte(&stream, patience).await?;
    stream.set_nodelay(true)?;
    let http = |stream, redirect| Errand::Http {
        stream: Stream::Plain(stream),
        version: Version::Http1,
        redirect,
    };
    let errand = match front {
        Front::Inside => http(stream, false),
        // Boxed: a silent connection does not allocate memory for a session.
        Front::Tls(config) if first == HANDSHAKE => {
            Box::pin(secured(stream, config, patience)).await?
        }
        _ if is_turn(first) => Errand::Turn(stream, None),
        Front::Plain => http(stream, false),
        Front::Redirect | Front::Tls(_) => http(stream, true),
    };
    Ok(Guest { client, errand })
}

/// Looks at the first byte and leaves it where it is.
async fn first_byte(stream: &TcpStream, patience: Duration) -> io::Result<u8> {
    let mut first = [0];
    match timed(patience, stream.peek(&mut first)).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0]),
    }
}

/// The two first bits of a STUN message are zero (RFC 8489 section 5), and TURN begins with one:
/// there is no channel yet that ChannelData could be for. HTTP begins with a letter, or with empty
/// lines (RFC 9112 section 2.2), whose bytes are of no request of STUN.
fn is_turn(first: u8) -> bool {
    first < 0x40 && !matches!(first, b'\r' | b'\n')
}

/// Shakes hands. What has been agreed upon (ALPN) says what is spoken, and else the first byte.
async fn secured(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    patience: Duration,
) -> Result<Errand, Stray> {
    let accepting = TlsAcceptor::from(config.clone()).accept(stream);
    let mut stream = timed(patience, accepting).await.map_err(Stray::Handshake)?;
    let protocol = stream.get_ref().1.alpn_protocol();
    let version = match protocol {
        Some(tls::HTTP_2) => Version::Http2,
        Some(tls::STUN_TURN) => return Ok(turn(stream)),
        None | Some(tls::HTTP_1) => {
            let is_free = protocol.is_none();
            let first = timed(patience, stream.fill_buf()).await?;
            let first = first.first().ok_or(io::ErrorKind::UnexpectedEof);
            let first = *first.map_err(io::Error::from)?;
            if is_free && is_turn(first) {
                return Ok(turn(stream));
            }
            Version::Http1
        }
        Some(_) => {
            // Whether it hears of the end or not: it has seen what it came for.
            let _ = timed(patience, stream.shutdown()).await;
            return Ok(Errand::Done);
        }
    };
    Ok(Errand::Http {
        stream: Stream::Tls(Box::new(stream)),
        version,
        redirect: false,
    })
}

fn turn(stream: tokio_rustls::server::TlsStream<TcpStream>) -> Errand {
    let (stream, session) = stream.into_inner();
    Errand::Turn(stream, Some(Box::new(session)))
}

async fn timed<T>(patience: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = timeout(patience, what).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_turn_from_http() {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "PUT", "\r\nGET", "\nGET"] {
            assert!(!is_turn(method.as_bytes()[0]), "{method}");
        }
        // Binding and Allocate requests, Send indications.
        for kind in [0x0001u16, 0x0003, 0x0016] {
            assert!(is_turn(kind.to_be_bytes()[0]));
        }
    }
}
