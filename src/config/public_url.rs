//! The address that users type: `https://talk.example.org`, with nothing behind the host.

use std::fmt;
use std::net::Ipv6Addr;

/// Scheme, host and port of an HTTP origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    https: bool,
    host: String,
    port: Option<u16>,
}

impl PublicUrl {
    /// Reads `http(s)://host[:port]`; a slash at the end is allowed.
    ///
    /// # Errors
    /// What it must be, as the end of a sentence that began with the key.
    pub fn parse(text: &str) -> Result<PublicUrl, String> {
        read(text).ok_or_else(|| {
            format!(
                "must be http:// or https:// and a host, such as https://talk.example.org, \
                 not `{text}`"
            )
        })
    }

    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Lower case; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.https { 443 } else { 80 })
    }
}

/// Without a slash at the end, as a browser writes an origin.
impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn read(text: &str) -> Option<PublicUrl> {
    let text = text.trim().to_ascii_lowercase();
    let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return None,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = split(authority)?;
    let port = match port {
        None => None,
        Some(digits) => Some(digits.parse().ok().filter(|port| *port != 0)?),
    };
    let usual = if https { 443 } else { 80 };
    Some(PublicUrl {
        https,
        host: host.to_owned(),
        port: port.filter(|port| *port != usual),
    })
}

fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        let host = &authority[..address.len() + 2];
        return match behind {
            "" => Some((host, None)),
            port => Some((host, Some(port.strip_prefix(':')?))),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!host.is_empty() && host.chars().all(plain)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (text, origin) in [
            ("https://Talk.example.org/", "https://talk.example.org"),
            ("https://talk.example.org:443", "https://talk.example.org"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://[::1]:8000", "http://[::1]:8000"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().to_string(), origin);
        }
        let url = PublicUrl::parse("https://[2001:db8::1]").unwrap();
        assert_eq!((url.host(), url.port()), ("[2001:db8::1]", 443));
    }

    #[test]
    fn what_is_more_than_an_origin_is_refused() {
        for text in [
            "",
            "talk.example.org",
            "ftp://x",
            "https://",
            "https://x/path",
            "https://u@x",
            "https://x:0",
            "https://x:99999",
            "https://[::1",
            "https://[x]",
            "*",
        ] {
            let error = PublicUrl::parse(text).expect_err(text);
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", host in "[\\[\\]a-z0-9:/.@]*") {
            let _ = PublicUrl::parse(&text);
            let _ = PublicUrl::parse(&format!("https://{host}"));
        }
    }
}
