//! The URL of a resource that parlor fetches.

use std::fmt;

use super::authority::Authority;
use super::host::Host;

const HTTPS_PORT: u16 = 443;

/// An https URL with path and query, as it is requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl {
    authority: Authority,
    /// Path and query; begins with a slash.
    target: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an https:// URL such as https://id.example.org/keys.json")]
pub struct HttpsUrlError;

impl HttpsUrl {
    /// Parses `https://host[:port][/path][?query]`, without user information and fragment.
    ///
    /// # Errors
    /// The text has another form, or characters that have to be percent-encoded.
    pub fn parse(text: &str) -> Result<HttpsUrl, HttpsUrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(HttpsUrlError)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>' | '\\');
        if !scheme.eq_ignore_ascii_case("https") || !target.chars().all(is_plain) {
            return Err(HttpsUrlError);
        }
        let authority = Authority::parse_international(authority).map_err(|_| HttpsUrlError)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(HttpsUrl {
            authority: authority.without_default_port(HTTPS_PORT),
            target: format!("{slash}{target}"),
        })
    }

    pub fn host(&self) -> &Host {
        self.authority.host()
    }

    pub fn port(&self) -> u16 {
        self.authority.port().unwrap_or(HTTPS_PORT)
    }

    /// The value of `Host` in a request.
    pub fn authority(&self) -> String {
        self.authority.to_string()
    }

    /// Path and query, as in the first line of a request.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_path_and_query() {
        for (text, normal, port) in [
            ("https://id.example", "https://id.example/", 443),
            (
                "HTTPS://Id.example:443/a/b?p=x%20y&q",
                "https://id.example/a/b?p=x%20y&q",
                443,
            ),
            (
                "https://id.example:8443?p",
                "https://id.example:8443/?p",
                8443,
            ),
            ("https://[::1]:1/k", "https://[::1]:1/k", 1),
            (
                "https://b\u{fc}cher.example/k",
                "https://xn--bcher-kva.example/k",
                443,
            ),
        ] {
            let url = HttpsUrl::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.port()), (normal, port));
        }
    }

    #[test]
    fn other_schemes_users_fragments_and_raw_characters_are_errors() {
        for text in [
            "",
            "http://id.example/k",
            "file:///k",
            "https://",
            "https:///k",
            "https://user@id.example/k",
            "https://id.example/k#f",
            "https://id.example/a b",
            "https://id.example/\u{fc}",
            "https://id.example:0/",
            "https://id.example/\r\nHost: x",
        ] {
            assert_eq!(HttpsUrl::parse(text), Err(HttpsUrlError), "{text}");
        }
    }
}
