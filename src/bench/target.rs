//! The server under load: `turn:host:port?transport=udp`, as in `iceServers` (RFC 7065).

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// The default port of RFC 7065.
const DEFAULT_PORT: u16 = 3478;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A TURN URI, not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    host: String,
    port: u16,
    transport: Transport,
}

/// The address of the server.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub address: SocketAddr,
    pub transport: Transport,
}

impl Uri {
    /// # Errors
    /// The URI is malformed, or its scheme is not supported.
    pub fn parse(text: &str) -> Result<Uri, String> {
        if text.starts_with("turns:") {
            return Err("TURN over TLS is not supported: use turn: instead".to_owned());
        }
        let invalid = || format!("`{text}` is not a TURN URI such as turn:host:3478?transport=udp");
        let rest = text.strip_prefix("turn:").ok_or_else(invalid)?;
        let (authority, transport) = match rest.split_once("?transport=") {
            None => (rest, Transport::Udp),
            Some((authority, "udp")) => (authority, Transport::Udp),
            Some((authority, "tcp")) => (authority, Transport::Tcp),
            Some(_) => return Err(invalid()),
        };
        let (host, port) = split_port(authority).ok_or_else(invalid)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if !host.is_empty() && host.chars().all(fits) {
            Ok(Uri {
                host: host.to_owned(),
                port,
                transport,
            })
        } else {
            Err(invalid())
        }
    }

    /// Resolves the host; uses its first address.
    ///
    /// # Errors
    /// The host has no address.
    pub fn resolve(&self) -> Result<Target, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let address = match found.map(|mut addresses| addresses.next()) {
            Ok(Some(address)) => address,
            Ok(None) => return Err(format!("{} has no address", self.host)),
            Err(error) => return Err(format!("{} can't be resolved: {error}", self.host)),
        };
        Ok(Target {
            address,
            transport: self.transport,
        })
    }
}

/// Returns the host without brackets, and the port.
fn split_port(authority: &str) -> Option<(&str, u16)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest {
        "" => DEFAULT_PORT,
        rest => rest
            .strip_prefix(':')?
            .parse()
            .ok()
            .filter(|port| *port > 0)?,
    };
    Some((host, port))
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Uri {
            host,
            port,
            transport,
        } = self;
        if host.contains(':') {
            write!(f, "turn:[{host}]:{port}?transport={transport}")
        } else {
            write!(f, "turn:{host}:{port}?transport={transport}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn port_and_transport_are_optional() {
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
            assert_eq!(Uri::parse(text).unwrap().to_string(), whole);
        }
    }

    #[test]
    fn a_text_that_is_not_a_turn_uri_is_quoted_in_the_error() {
        for text in [
            "",
            "talk.example.org",
            "turn:",
            "turn::3478",
            "turn:a:0",
            "turn:a:70000",
            "turn:a b",
            "turn:a?transport=sctp",
            "turn:[::1",
            "turn:2001:db8::1",
        ] {
            let error = Uri::parse(text).expect_err(text);
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        assert!(
            Uri::parse("turns:a")
                .unwrap_err()
                .contains("TLS is not supported")
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(turn:)?.*") {
            if let Ok(uri) = Uri::parse(&text) {
                prop_assert_eq!(Uri::parse(&uri.to_string()), Ok(uri));
            }
        }
    }
}
