//! A host and optionally a port.

use std::fmt;

use hyper::http::uri;

use super::host::{Host, to_ascii};

/// A host and optionally a port from 1 to 65535 (RFC 3986 section 3.2). User information is an error:
/// no URL and no header that parlor reads may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host with or without a port from 1 to 65535")]
pub struct AuthorityError;

impl Authority {
    pub fn new(host: Host, port: Option<u16>) -> Authority {
        Authority { host, port }
    }

    /// Parses `host[:port]` in ASCII, with IPv6 in brackets.
    ///
    /// # Errors
    /// The host or the port is invalid.
    pub fn parse(text: &str) -> Result<Authority, AuthorityError> {
        let authority = uri::Authority::try_from(text).map_err(|_| AuthorityError)?;
        if text.contains('@') {
            return Err(AuthorityError);
        }
        let host = authority.host();
        // `uri::Authority` reports an invalid port as no port.
        let port = match &text[host.len()..] {
            "" => None,
            rest => Some(parse_port(rest)?),
        };
        let host = Host::parse_in_url(host).map_err(|_| AuthorityError)?;
        Ok(Authority { host, port })
    }

    /// Parses `host[:port]` of a setting, whose name may be international.
    ///
    /// # Errors
    /// As for [`Authority::parse`].
    pub fn parse_international(text: &str) -> Result<Authority, AuthorityError> {
        match text.rsplit_once(':') {
            _ if text.is_ascii() => Authority::parse(text),
            Some((host, port)) => Authority::parse(&format!("{}:{port}", to_ascii(host))),
            None => Authority::parse(&to_ascii(text)),
        }
    }

    /// Parses the host of a request (RFC 9110 section 7.2), where a port may be empty (RFC 3986
    /// section 3.2.3).
    ///
    /// # Errors
    /// As for [`Authority::parse`].
    pub fn parse_header(text: &str) -> Result<Authority, AuthorityError> {
        Authority::parse(text.strip_suffix(':').unwrap_or(text))
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn into_host(self) -> Host {
        self.host
    }

    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the authority without its port, if that is `usual`.
    pub(super) fn without_default_port(self, usual: u16) -> Authority {
        let port = self.port.filter(|port| *port != usual);
        Authority { port, ..self }
    }
}

/// Parses `:port`. `u16` alone would accept a sign.
fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    let digits = text.strip_prefix(':').ok_or(AuthorityError)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AuthorityError);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(AuthorityError),
        Ok(port) => Ok(port),
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        for (text, normal, port) in [
            ("Talk.example.org", "talk.example.org", None),
            ("a.:1", "a.:1", Some(1)),
            ("a:080", "a:80", Some(80)),
            ("a:65535", "a:65535", Some(65535)),
            ("192.0.2.1:443", "192.0.2.1:443", Some(443)),
            ("[2001:DB8:0::1]", "[2001:db8::1]", None),
            ("[::1]:8000", "[::1]:8000", Some(8000)),
        ] {
            let authority = Authority::parse(text).unwrap();
            assert_eq!(
                (authority.to_string(), authority.port()),
                (normal.to_owned(), port)
            );
            assert_eq!(Authority::parse_header(text), Ok(authority));
        }
    }

    #[test]
    fn a_text_with_an_invalid_host_or_port_is_not_an_authority() {
        for text in [
            "",
            ":",
            ":80",
            "::",
            "a:0",
            "a:65536",
            "a:99999",
            "a:+80",
            "a:-1",
            "a:x",
            "a: 80",
            "a:1:2",
            "a::",
            "2001:db8::1",
            "[::1",
            "::1]",
            "[]",
            "[]:1",
            "[evil]",
            "[192.0.2.1]",
            "[192.0.2.1]:80",
            "[::1]x",
            "[::1]x:80",
            "[::1]:[::1]",
            "[[::1]]",
            "[fe80::1%25eth0]",
            "u@a",
            "u:p@a",
            "u:p@a:80",
            "@a",
            "a@",
            "a..b",
            " a",
            "a ",
            "a b",
            "a\n",
            "a/",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a\"",
            "a%20b",
            "a!b",
            "*",
            "bücher.example",
        ] {
            assert_eq!(Authority::parse(text), Err(AuthorityError), "{text}");
            assert_eq!(Authority::parse_header(text), Err(AuthorityError), "{text}");
        }
    }

    #[test]
    fn only_a_request_may_name_an_empty_port() {
        for (text, normal) in [("a:", "a"), ("[::1]:", "[::1]")] {
            assert_eq!(Authority::parse(text), Err(AuthorityError));
            assert_eq!(Authority::parse_header(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn an_international_name_becomes_ascii_and_keeps_its_port() {
        for (text, normal) in [
            ("Bücher.example", "xn--bcher-kva.example"),
            ("bücher.example:8443", "xn--bcher-kva.example:8443"),
            ("a.example:1", "a.example:1"),
        ] {
            let authority = Authority::parse_international(text).unwrap();
            assert_eq!(authority.to_string(), normal);
        }
        for text in [
            "bü cher",
            "bücher.example:0",
            "bücher.example:x",
            "u@bücher.example",
            "bücher：",
        ] {
            assert_eq!(
                Authority::parse_international(text),
                Err(AuthorityError),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_the_same_authority(
            text in "[\\[\\]A-Za-z0-9:/.@_-]{0,24}|[a-z.]{1,9}:[0-9]{1,6}|.*",
        ) {
            let header = Authority::parse_header(&text).ok();
            let setting = Authority::parse_international(&text).ok();
            for authority in header.into_iter().chain(setting) {
                prop_assert!(authority.port() != Some(0));
                prop_assert_eq!(Authority::parse(&authority.to_string()), Ok(authority));
            }
        }
    }
}
