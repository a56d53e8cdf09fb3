//! The server under load: `turn:host:port?transport=udp`, as in `iceServers` (RFC 7065).

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::url::{Host, IceScheme, IceUrl, Transport};

/// A TURN URI, not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    host: Host,
    port: u16,
    transport: Transport,
}

/// The address of the server.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub address: SocketAddr,
    pub transport: Transport,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("TURN over TLS is not supported: use turn: instead")]
    Tls,
    #[error("`{0}` is not a TURN URI such as turn:host:3478?transport=udp")]
    Invalid(String),
}

impl Uri {
    /// # Errors
    /// The URI is malformed, or its scheme is not supported.
    pub fn parse(text: &str) -> Result<Uri, UriError> {
        let invalid = || UriError::Invalid(text.to_owned());
        let url = IceUrl::parse(text).map_err(|_| invalid())?;
        match url.scheme() {
            IceScheme::Turn => Ok(Uri {
                host: url.host().clone(),
                port: url.port(),
                transport: url.transport().unwrap_or(Transport::Udp),
            }),
            IceScheme::Turns => Err(UriError::Tls),
            IceScheme::Stun | IceScheme::Stuns => Err(invalid()),
        }
    }

    /// Resolves the host; uses its first address.
    ///
    /// # Errors
    /// The host has no address.
    pub fn resolve(&self) -> Result<Target, String> {
        let host = self.host.unbracketed();
        let found = (host.as_str(), self.port).to_socket_addrs();
        let address = match found.map(|mut addresses| addresses.next()) {
            Ok(Some(address)) => address,
            Ok(None) => return Err(format!("{host} has no address")),
            Err(error) => return Err(format!("{host} can't be resolved: {error}")),
        };
        Ok(Target {
            address,
            transport: self.transport,
        })
    }
}

/// Formats the URI with its port and transport.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = IceUrl::turn(self.host.clone(), self.port, self.transport);
        write!(f, "{url}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_and_transport_have_defaults() {
        for (text, whole) in [
            (
                "turn:talk.example.org",
                "turn:talk.example.org:3478?transport=udp",
            ),
            ("turn:10.0.0.1:53", "turn:10.0.0.1:53?transport=udp"),
            (
                "turn:[2001:db8::1]?transport=tcp",
                "turn:[2001:db8::1]:3478?transport=tcp",
            ),
        ] {
            let uri = Uri::parse(text).unwrap();
            assert_eq!(uri.to_string(), whole);
            assert_eq!(Uri::parse(whole), Ok(uri));
        }
    }

    #[test]
    fn a_text_that_is_not_a_turn_uri_is_quoted_in_the_error() {
        for text in [
            "",
            "talk.example.org",
            "turn:a:0",
            "turn:u@a",
            "stun:a",
            "stuns:a",
        ] {
            let error = Uri::parse(text).unwrap_err();
            assert_eq!(error, UriError::Invalid(text.to_owned()));
            assert!(error.to_string().contains(&format!("`{text}`")));
        }
        assert_eq!(Uri::parse("turns:a"), Err(UriError::Tls));
    }
}
