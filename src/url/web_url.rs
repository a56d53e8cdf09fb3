//! An http or https URL with a base path.

use std::fmt;

use super::authority::Authority;
use super::host::Host;

/// The default ports of http and https (RFC 9110 section 4.2).
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Scheme, authority and base path, without query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl {
    is_https: bool,
    /// Without the default port of the scheme.
    authority: Authority,
    /// Empty, or with a leading slash and no trailing one.
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an http:// or https:// URL of a host")]
pub struct WebUrlError;

impl WebUrl {
    /// Returns the URL of an https server.
    pub fn https(host: Host, port: u16) -> WebUrl {
        WebUrl {
            is_https: true,
            authority: Authority::new(host, Some(port)).without_default_port(HTTPS_PORT),
            path: String::new(),
        }
    }

    /// Parses `http(s)://host[:port][/path]`. Spaces around the URL, a slash at its end and an
    /// international name are allowed.
    ///
    /// # Errors
    /// The URL has another form, or a path with characters or segments that clients and proxies rewrite.
    pub fn parse(text: &str) -> Result<WebUrl, WebUrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(WebUrlError)?;
        let is_https = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return Err(WebUrlError);
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority = Authority::parse_international(authority).map_err(|_| WebUrlError)?;
        Ok(WebUrl {
            is_https,
            authority: authority.without_default_port(default_port(is_https)),
            path: parse_path(path)?,
        })
    }

    pub fn is_https(&self) -> bool {
        self.is_https
    }

    pub fn host(&self) -> &Host {
        self.authority.host()
    }

    pub fn port(&self) -> u16 {
        let port = self.authority.port();
        port.unwrap_or(default_port(self.is_https))
    }

    /// Returns whether `server`, named in a request for this URL, is the server of the URL.
    pub(super) fn is_at(&self, server: &Authority) -> bool {
        let port = server.port().unwrap_or(default_port(self.is_https));
        self.host() == server.host() && self.port() == port
    }

    /// The base path: empty, or with a leading slash and no trailing one.
    pub fn path(&self) -> &str {
        &self.path
    }
}

fn default_port(is_https: bool) -> u16 {
    if is_https { HTTPS_PORT } else { HTTP_PORT }
}

/// Parses what follows the slash after the authority.
fn parse_path(path: &str) -> Result<String, WebUrlError> {
    if path.is_empty() {
        return Ok(String::new());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
    let is_kept =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(is_plain);
    if path.split('/').all(is_kept) {
        Ok(format!("/{path}"))
    } else {
        Err(WebUrlError)
    }
}

/// Formats the URL without a trailing slash and without the default port, as a browser writes an origin.
impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_url_is_written_as_browsers_write_an_origin() {
        for (text, normal) in [
            ("https://Talk.example.org/", "https://talk.example.org"),
            (
                " https://talk.example.org:443\n",
                "https://talk.example.org",
            ),
            ("https://talk.example.org:80", "https://talk.example.org:80"),
            ("http://a:80", "http://a"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://[2001:DB8:0::1]", "http://[2001:db8::1]"),
            (
                "https://bücher.example:8443/",
                "https://xn--bcher-kva.example:8443",
            ),
            ("HTTPS://A.example/Talk/", "https://a.example/Talk"),
            (
                "https://a.example:444/our/talk",
                "https://a.example:444/our/talk",
            ),
            ("https://a/1/~b/c_d/e-f/g.h", "https://a/1/~b/c_d/e-f/g.h"),
        ] {
            assert_eq!(WebUrl::parse(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn a_url_without_a_port_has_that_of_its_scheme() {
        for (text, is_https, port) in [
            ("https://[2001:db8::1]", true, 443),
            ("http://a", false, 80),
            ("http://a:443", false, 443),
        ] {
            let url = WebUrl::parse(text).unwrap();
            assert_eq!((url.is_https(), url.port()), (is_https, port));
        }
        let url = |port| WebUrl::https(Host::parse("::1").unwrap(), port).to_string();
        assert_eq!([url(443), url(80)], ["https://[::1]", "https://[::1]:80"]);
    }

    #[test]
    fn a_url_with_more_than_scheme_host_port_and_path_is_rejected() {
        for text in [
            "",
            "*",
            "talk.example.org",
            "//x",
            "://x",
            "ftp://x",
            "ht tp://x",
            "https:/x",
            "https://",
            "https:///x",
            "https://x//",
            "https://x/a//b",
            "https://x/../a",
            "https://x/.",
            "https://x/a b",
            "https://x/%41",
            "https://x/a?b",
            "https://x?b",
            "https://x#b",
            "https://x/a#b",
            "https://x\\a",
            "https://u@x",
            "https://u:p@x",
            "https://x:",
            "https://x:0",
            "https://x:+1",
            "https://x:99999",
            "https://::1",
            "https://[::1",
            "https://[x]",
            "https://a..b",
            "https://a b",
            "https://bü cher",
        ] {
            assert_eq!(WebUrl::parse(text), Err(WebUrlError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_the_same_url(text in "https?://[\\[\\]A-Za-z0-9:/.@?~-]{0,24}|.*") {
            if let Ok(url) = WebUrl::parse(&text) {
                prop_assert_eq!(WebUrl::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
