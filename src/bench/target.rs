//! Which server is driven: `turn:host:port?transport=udp`, as in `iceServers` (RFC 7065).

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// What RFC 7065 says where the URI names no port.
const DEFAULT_PORT: u16 = 3478;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A TURN URI, not yet looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    host: String,
    port: u16,
    transport: Transport,
}

/// Where the server is.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub address: SocketAddr,
    pub transport: Transport,
}

impl Uri {
    /// # Errors
    /// A sentence that says what a URI looks like, or what is not spoken here.
    pub fn parse(text: &str) -> Result<Uri, String> {
        if text.starts_with("turns:") {
            return Err("TURN over TLS is not spoken here: measure turn: instead".to_owned());
        }
        let invalid = || format!("`{text}` is not like turn:host:3478?transport=udp");
        let rest = text.strip_prefix("turn:").ok_or_else(invalid)?;
        let (authority, transport) = match rest.split_once("?transport=") {
            None => (rest, Transport::Udp),
            Some((authority, "udp")) => (authority, Transport::Udp),
            Some((authority, "tcp")) => (authority, Transport::Tcp),
            Some(_) => return Err(invalid()),
        };
        let (host, port) = split_port(authority).ok_or_else(invalid)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        match !host.is_empty() && host.chars().all(fits) {
            true => Ok(Uri {
                host: host.to_owned(),
                port,
                transport,
            }),
            false => Err(invalid()),
        }
    }

    /// Asks the resolver; the first address counts.
    ///
    /// # Errors
    /// A sentence, where the name has no address.
    pub fn resolve(&self) -> Result<Target, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let address = match found.map(|mut addresses| addresses.next()) {
            Ok(Some(address)) => address,
            Ok(None) => return Err(format!("{} has no address", self.host)),
            Err(error) => return Err(format!("{} can't be looked up: {error}", self.host)),
        };
        Ok(Target {
            address,
            transport: self.transport,
        })
    }
}

/// The host without brackets, and the port.
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
        match host.contains(':') {
            true => write!(f, "turn:[{host}]:{port}?transport={transport}"),
            false => write!(f, "turn:{host}:{port}?transport={transport}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn port_and_transport_may_be_left_out() {
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
    fn what_is_no_turn_uri_is_named() {
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
            let told = Uri::parse(text).expect_err(text);
            assert!(told.contains(&format!("`{text}`")), "{told}");
        }
        assert!(
            Uri::parse("turns:a")
                .unwrap_err()
                .contains("TLS is not spoken")
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
