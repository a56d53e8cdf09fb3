//! The URL of a STUN or TURN server.

use std::fmt;

use super::authority::Authority;
use super::host::Host;

/// The default port of STUN and TURN over UDP and TCP (RFC 8489 section 18.6, RFC 8656 section 18.7).
pub const STUN_PORT: u16 = 3478;
/// The default port of STUN and TURN over TLS.
const STUNS_PORT: u16 = 5349;

/// The schemes of RFC 7064 and RFC 7065. Browsers know them in lower case only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceScheme {
    Stun,
    Stuns,
    Turn,
    Turns,
}

/// The transport between a client and its TURN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// `scheme:host[:port]`, with `?transport=…` after `turn` and `turns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceUrl {
    scheme: IceScheme,
    authority: Authority,
    transport: Option<Transport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IceUrlError {
    #[error("an ICE URL has no user name and no password")]
    UserInfo,
    #[error("not an ICE URL such as stun:example.org:3478 or turn:example.org:3478?transport=udp")]
    Malformed,
}

impl IceScheme {
    /// Returns whether the server relays.
    pub fn is_turn(self) -> bool {
        matches!(self, IceScheme::Turn | IceScheme::Turns)
    }

    fn parse(text: &str) -> Option<IceScheme> {
        match text {
            "stun" => Some(IceScheme::Stun),
            "stuns" => Some(IceScheme::Stuns),
            "turn" => Some(IceScheme::Turn),
            "turns" => Some(IceScheme::Turns),
            _ => None,
        }
    }
}

impl Transport {
    fn parse(query: &str) -> Option<Transport> {
        match query {
            "transport=udp" => Some(Transport::Udp),
            "transport=tcp" => Some(Transport::Tcp),
            _ => None,
        }
    }
}

impl IceUrl {
    /// Returns the URL of a STUN server.
    pub fn stun(host: Host, port: u16) -> IceUrl {
        IceUrl {
            scheme: IceScheme::Stun,
            authority: Authority::new(host, Some(port)),
            transport: None,
        }
    }

    /// Returns the URL of a TURN server.
    pub fn turn(host: Host, port: u16, transport: Transport) -> IceUrl {
        IceUrl {
            scheme: IceScheme::Turn,
            authority: Authority::new(host, Some(port)),
            transport: Some(transport),
        }
    }

    /// Returns the URL of a TURN server over TLS.
    pub fn turns(host: Host, port: u16) -> IceUrl {
        IceUrl {
            scheme: IceScheme::Turns,
            authority: Authority::new(host, Some(port)),
            transport: Some(Transport::Tcp),
        }
    }

    /// Parses a URL whose name may be international. Browsers reject the whole peer connection for one
    /// malformed URL.
    ///
    /// # Errors
    /// The URL is malformed, such as one with slashes or an unknown transport, or has user information.
    pub fn parse(text: &str) -> Result<IceUrl, IceUrlError> {
        if text.contains('@') {
            return Err(IceUrlError::UserInfo);
        }
        parse(text).ok_or(IceUrlError::Malformed)
    }

    pub fn scheme(&self) -> IceScheme {
        self.scheme
    }

    pub fn host(&self) -> &Host {
        self.authority.host()
    }

    pub fn port(&self) -> u16 {
        self.authority.port().unwrap_or(match self.scheme {
            IceScheme::Stun | IceScheme::Turn => STUN_PORT,
            IceScheme::Stuns | IceScheme::Turns => STUNS_PORT,
        })
    }

    pub fn transport(&self) -> Option<Transport> {
        self.transport
    }
}

fn parse(text: &str) -> Option<IceUrl> {
    let (scheme, rest) = text.split_once(':')?;
    let scheme = IceScheme::parse(scheme)?;
    let (authority, transport) = match rest.split_once('?') {
        None => (rest, None),
        Some((authority, query)) if scheme.is_turn() => (authority, Some(Transport::parse(query)?)),
        Some(_) => return None,
    };
    Some(IceUrl {
        scheme,
        authority: Authority::parse_international(authority).ok()?,
        transport,
    })
}

impl fmt::Display for IceScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IceScheme::Stun => "stun",
            IceScheme::Stuns => "stuns",
            IceScheme::Turn => "turn",
            IceScheme::Turns => "turns",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        })
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, self.authority)?;
        match self.transport {
            Some(transport) => write!(f, "?transport={transport}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn port_and_transport_are_optional() {
        for (text, port, transport) in [
            ("stun:t.example", 3478, None),
            ("stuns:t.example", 5349, None),
            ("stun:[2001:db8::1]:19302", 19302, None),
            ("turn:192.0.2.1", 3478, None),
            ("turn:t.example:80?transport=udp", 80, Some(Transport::Udp)),
            ("turns:[::1]?transport=tcp", 5349, Some(Transport::Tcp)),
        ] {
            let url = IceUrl::parse(text).unwrap();
            assert_eq!((url.port(), url.transport()), (port, transport), "{text}");
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn the_host_is_in_its_normal_form() {
        for (text, normal) in [
            ("turn:T.Example:3478", "turn:t.example:3478"),
            ("stun:bücher.example", "stun:xn--bcher-kva.example"),
            (
                "turn:bücher.example:3478?transport=udp",
                "turn:xn--bcher-kva.example:3478?transport=udp",
            ),
            ("stun:[2001:DB8:0::1]", "stun:[2001:db8::1]"),
        ] {
            assert_eq!(IceUrl::parse(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn a_url_that_browsers_reject_is_malformed() {
        for text in [
            "",
            "t.example",
            "http://t.example",
            "stun",
            "stun:",
            "turn::3478",
            "STUN:t.example",
            "turn:?transport=udp",
            "stun://t.example",
            "stun:t.example/",
            "stun:t.example:",
            "stun:t.example:0",
            "stun:t.example:99999",
            "stun:t.example:+80",
            "stun:t.example:x",
            "turn:t.example?",
            "turn:t.example?transport=sctp",
            "turn:t.example?transport=UDP",
            "turn:t.example?transport=udp&x=y",
            "turn:t.example?x=y",
            "turn:t.example#x",
            "stun:t.example?transport=udp",
            "stuns:t.example?transport=tcp",
            "stun:2001:db8::1",
            "stun:[::1",
            "stun:[x]",
            "stun:[192.0.2.1]",
            "stun:t example",
            "stun: t.example",
            "stun:t.example ",
            "stun:a..b",
            "stun:bü cher",
        ] {
            assert_eq!(IceUrl::parse(text), Err(IceUrlError::Malformed), "{text}");
        }
        for text in [
            "turn:name:password@t.example",
            "turn:u@t",
            "stun:t.example/@",
        ] {
            assert_eq!(IceUrl::parse(text), Err(IceUrlError::UserInfo), "{text}");
        }
    }

    #[test]
    fn the_urls_of_a_host_differ_by_scheme_and_transport() {
        let host = || Host::parse("2001:db8::1").unwrap();
        let urls = [
            IceUrl::stun(host(), 3478),
            IceUrl::turn(host(), 3478, Transport::Udp),
            IceUrl::turns(host(), 443),
        ];
        let expected = [
            "stun:[2001:db8::1]:3478",
            "turn:[2001:db8::1]:3478?transport=udp",
            "turns:[2001:db8::1]:443?transport=tcp",
        ];
        for (url, text) in urls.into_iter().zip(expected) {
            assert_eq!(url.to_string(), text);
            assert_eq!(IceUrl::parse(text), Ok(url));
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_the_same_url(
            text in "(stun|turn)s?:[\\[\\]A-Za-z0-9:./-]{0,20}([?]transport=(udp|tcp))?|.*",
        ) {
            if let Ok(url) = IceUrl::parse(&text) {
                prop_assert_eq!(IceUrl::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
