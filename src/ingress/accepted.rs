//! An accepted connection, and what decides its protocol.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::stream::Stream;

/// An accepted connection, ready for its protocol.
pub struct Accepted {
    /// The number of the connection in the log, unique in this process.
    pub number: u64,
    /// The client: the TCP peer, or the address that a trusted proxy named.
    pub client: SocketAddr,
    pub protocol: Protocol,
    /// No byte of the protocol has been consumed.
    pub stream: Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1 {
        /// Whether requests are redirected to HTTPS.
        redirect: bool,
    },
    Http2,
    Turn,
}

/// A connection's protocol, and the stream at its beginning.
pub(super) type Classified = (Protocol, Stream);

/// Whether a connection's first byte is that of TURN. The first two bits of a STUN message are zero
/// (RFC 8489 section 5), and TURN begins with one: ChannelData needs a channel first. HTTP begins with a
/// letter, or with empty lines (RFC 9112 section 2.2), whose bytes begin no STUN request.
pub(super) fn is_turn(first: u8) -> bool {
    first < 0x40 && !matches!(first, b'\r' | b'\n')
}

/// Fails with [`io::ErrorKind::TimedOut`] after `step_timeout`.
pub(super) async fn within<T>(
    step_timeout: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let done = timeout(step_timeout, step).await;
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
