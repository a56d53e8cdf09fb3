//! The public URL: `https://talk.example.org`, optionally with a path below which a proxy serves
//! parlor.

use std::fmt;
use std::net::Ipv6Addr;

use super::names;

/// The top-level paths of parlor. A base path must not begin with one, or it would be ambiguous
/// whether a proxy stripped the base path.
const RESERVED_SEGMENTS: [&str; 6] = ["api", "assets", "healthz", "r", "readyz", ".well-known"];

/// Scheme, host and port of an HTTP origin, and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    https: bool,
    host: String,
    port: Option<u16>,
    path: String,
}

impl PublicUrl {
    /// Reads `http(s)://host[:port][/path]`; a slash at the end is allowed.
    ///
    /// # Errors
    /// The required form, as the end of a sentence that began with the key.
    pub fn parse(text: &str) -> Result<PublicUrl, String> {
        parse(text).ok_or_else(|| {
            format!(
                "must be http:// or https:// and a host, such as https://talk.example.org, \
                 not `{text}`"
            )
        })
    }

    /// Returns whether `text` is an origin: a URL without a path.
    pub fn is_origin(text: &str) -> bool {
        parse(text).is_some_and(|url| url.path.is_empty())
    }

    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host in lower case; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The base path: empty, or with a leading slash and no trailing one.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.https { 443 } else { 80 })
    }
}

/// Formats the URL without a trailing slash, as a browser writes an origin.
impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

fn parse(text: &str) -> Option<PublicUrl> {
    let (scheme, rest) = text.trim().split_once("://")?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority = names::authority_to_ascii(authority).to_ascii_lowercase();
    let (host, port) = split_authority(&authority)?;
    let port = match port {
        None => None,
        Some(digits) => Some(digits.parse().ok().filter(|port| *port != 0)?),
    };
    let usual = if https { 443 } else { 80 };
    Some(PublicUrl {
        https,
        host: host.to_owned(),
        port: port.filter(|port| *port != usual),
        path: base_path(path)?,
    })
}

/// Returns the normalized base path, if it has only segments that no client or proxy rewrites.
fn base_path(path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(String::new());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
    let sound = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(plain);
    let own = path
        .split('/')
        .next()
        .is_some_and(|first| RESERVED_SEGMENTS.contains(&first));
    (!own && path.split('/').all(sound)).then(|| format!("/{path}"))
}

fn split_authority(authority: &str) -> Option<(&str, Option<&str>)> {
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
            ("HTTPS://A.example/Talk/", "https://a.example/Talk"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().to_string(), origin);
        }
        let url = PublicUrl::parse("https://[2001:db8::1]").unwrap();
        assert_eq!((url.host(), url.port()), ("[2001:db8::1]", 443));
    }

    #[test]
    fn a_public_url_may_have_a_path() {
        let url = PublicUrl::parse("https://a.example:444/our/talk").unwrap();
        assert_eq!((url.path(), url.port()), ("/our/talk", 444));
        assert!(PublicUrl::is_origin("https://a.example/"));
        assert!(!PublicUrl::is_origin("https://a.example/talk"));
    }

    #[test]
    fn a_url_with_more_than_scheme_host_port_and_path_is_rejected() {
        for text in [
            "",
            "talk.example.org",
            "ftp://x",
            "https://",
            "https://x//",
            "https://x/a//b",
            "https://x/../a",
            "https://x/a b",
            "https://x/a?b",
            "https://x/api",
            "https://x/r/lobby",
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
