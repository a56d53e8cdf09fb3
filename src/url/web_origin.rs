//! The origin of a web page.

use std::fmt;

use super::authority::Authority;
use super::host::Host;
use super::web_url::WebUrl;

/// The origin of a page (RFC 6454 section 6.2): a URL without a path. Packaged apps have schemes of
/// their own, such as `tauri://localhost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebOrigin {
    Web(WebUrl),
    App { scheme: String, host: Host },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an origin such as https://app.example.org")]
pub struct WebOriginError;

impl WebOrigin {
    /// Parses `scheme://host`, and a port after http and https. Spaces around it, and a slash at the end
    /// of an http or https URL, are allowed.
    ///
    /// # Errors
    /// The text has another form, such as `*`, `null` or a URL with a path.
    pub fn parse(text: &str) -> Result<WebOrigin, WebOriginError> {
        let (scheme, authority) = text.trim().split_once("://").ok_or(WebOriginError)?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "http" || scheme == "https" {
            let url = WebUrl::parse(text).map_err(|_| WebOriginError)?;
            return match url.path() {
                "" => Ok(WebOrigin::Web(url)),
                _ => Err(WebOriginError),
            };
        }
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let authority = Authority::parse_international(authority).map_err(|_| WebOriginError)?;
        if scheme.is_empty() || !scheme.chars().all(is_scheme) || authority.port().is_some() {
            return Err(WebOriginError);
        }
        let host = authority.into_host();
        Ok(WebOrigin::App { scheme, host })
    }

    /// Returns whether a page of this origin came from the server that a request names.
    pub fn is_same_server(&self, server: &Authority) -> bool {
        match self {
            WebOrigin::Web(url) => url.is_at(server),
            WebOrigin::App { host, .. } => host == server.host() && server.port().is_none(),
        }
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebOrigin::Web(url) => write!(f, "{url}"),
            WebOrigin::App { scheme, host } => write!(f, "{scheme}://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for (text, normal) in [
            ("https://App.example:8443/", "https://app.example:8443"),
            ("https://app.example:443", "https://app.example"),
            ("http://localhost", "http://localhost"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("tauri://localhost", "tauri://localhost"),
            ("Chrome-Extension://abc", "chrome-extension://abc"),
            ("app://[2001:DB8::1]", "app://[2001:db8::1]"),
        ] {
            assert_eq!(WebOrigin::parse(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn a_text_with_a_path_or_without_a_host_is_not_an_origin() {
        for text in [
            "",
            "*",
            "null",
            "app.example",
            "https://x/y",
            "https://x//",
            "https://u@x",
            "https://x?y",
            "https://",
            "https://x:0",
            "://x",
            "tauri://",
            "tauri://localhost/",
            "tauri://x:80",
            "tauri://u@x",
            "tauri://a..b",
            "tauri://::1",
            "tauri://[192.0.2.1]",
            "a b://x",
            "a_b://x",
        ] {
            assert_eq!(WebOrigin::parse(text), Err(WebOriginError), "{text}");
        }
    }

    #[test]
    fn a_page_is_of_the_server_with_its_host_and_port() {
        for (origin, server, expected) in [
            ("http://talk.example:8000", "talk.example:8000", true),
            ("https://Talk.example", "talk.EXAMPLE", true),
            ("https://talk.example", "talk.example:443", true),
            ("http://talk.example:80", "talk.example", true),
            ("https://[::1]:1", "[::1]:1", true),
            ("app://talk.example", "talk.example", true),
            ("http://talk.example", "talk.example:8000", false),
            ("http://talk.example", "talk.example:443", false),
            ("https://talk.example", "talk.example:80", false),
            ("https://talk.example.evil", "talk.example", false),
            ("app://talk.example", "talk.example:80", false),
        ] {
            let origin = WebOrigin::parse(origin).unwrap();
            let server = Authority::parse(server).unwrap();
            assert_eq!(
                origin.is_same_server(&server),
                expected,
                "{origin} {server}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_the_same_origin(text in "[a-zA-Z+]{1,6}://[\\[\\]A-Za-z0-9:/.@-]{0,20}|.*") {
            if let Ok(origin) = WebOrigin::parse(&text) {
                prop_assert_eq!(WebOrigin::parse(&origin.to_string()), Ok(origin));
            }
        }
    }
}
