//! A pattern of origins.

use std::fmt;

use super::host::Host;
use super::web_origin::{WebOrigin, WebOriginError};

/// An origin, or a pattern of them: `https://*.example.org` matches `https://app.example.org`. The `*` is
/// one label, the first one; scheme and port are exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// The origin's normal form.
    One(String),
    /// The texts before and after the label.
    Label { scheme: String, rest: String },
}

/// Stands for the label while the rest is parsed.
const LABEL: &str = "x";

impl OriginPattern {
    /// Parses an origin, or a pattern for http or https with a name behind the `*`.
    ///
    /// # Errors
    /// The text has another form, such as `*`, `https://a.*.org` or `https://*`.
    pub fn parse(text: &str) -> Result<OriginPattern, WebOriginError> {
        let Some((scheme, rest)) = text.split_once("://*.") else {
            return WebOrigin::parse(text).map(|one| OriginPattern::One(one.to_string()));
        };
        let origin = WebOrigin::parse(&format!("{scheme}://{LABEL}.{rest}"))?;
        let WebOrigin::Web(url) = &origin else {
            return Err(WebOriginError);
        };
        if !has_parent(url.host()) {
            return Err(WebOriginError);
        }
        let origin = origin.to_string();
        let (scheme, rest) = origin.split_once("://").ok_or(WebOriginError)?;
        let rest = rest.strip_prefix(LABEL).ok_or(WebOriginError)?;
        Ok(OriginPattern::Label {
            scheme: format!("{scheme}://"),
            rest: rest.to_owned(),
        })
    }

    /// Returns whether the pattern includes the origin of a request, in the form that browsers send.
    pub fn includes(&self, origin: &str) -> bool {
        match self {
            OriginPattern::One(one) => one == origin,
            OriginPattern::Label { scheme, rest } => {
                let label = origin
                    .strip_prefix(scheme.as_str())
                    .and_then(|host| host.strip_suffix(rest.as_str()));
                label.is_some_and(is_label)
            }
        }
    }
}

/// Whether the host is a name of several labels. A last label of digits makes an address of it (WHATWG URL, 3.5).
fn has_parent(host: &Host) -> bool {
    let Host::Name(name) = host else {
        return false;
    };
    let (_, last) = name
        .trim_end_matches('.')
        .rsplit_once('.')
        .unwrap_or_default();
    last.bytes().any(|c| !c.is_ascii_digit())
}

/// A label as a browser sends it: in lower case.
fn is_label(text: &str) -> bool {
    let is_part = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_part)
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OriginPattern::One(origin) => write!(f, "{origin}"),
            OriginPattern::Label { scheme, rest } => write!(f, "{scheme}*{rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_exactly_one_label() {
        for (pattern, origin, expected) in [
            ("https://*.example.org", "https://app.example.org", true),
            ("https://*.example.org", "https://a-1.example.org", true),
            (
                "https://*.Example.org:443/",
                "https://app.example.org",
                true,
            ),
            (
                "https://*.bücher.example",
                "https://a.xn--bcher-kva.example",
                true,
            ),
            (
                "https://*.example.org:8443",
                "https://app.example.org:8443",
                true,
            ),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://.example.org", false),
            ("https://*.example.org", "https://a.b.example.org", false),
            ("https://*.example.org", "http://app.example.org", false),
            (
                "https://*.example.org",
                "https://app.example.org:8443",
                false,
            ),
            (
                "https://*.example.org",
                "https://app.example.org.evil",
                false,
            ),
            ("https://*.example.org", "https://evil/x.example.org", false),
            ("https://*.example.org", "https://evil@x.example.org", false),
            ("https://*.example.org", "https://appexample.org", false),
            (
                "https://*.example.org:8443",
                "https://app.example.org",
                false,
            ),
            ("https://app.example.org", "https://app.example.org", true),
            (
                "https://app.example.org",
                "https://x.app.example.org",
                false,
            ),
        ] {
            let parsed = OriginPattern::parse(pattern).unwrap();
            assert_eq!(parsed.includes(origin), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn the_normal_form_is_that_of_an_origin() {
        for (text, normal) in [
            ("https://*.Example.org:443/", "https://*.example.org"),
            ("http://*.lan:8080", "http://*.lan:8080"),
            ("https://App.example", "https://app.example"),
        ] {
            assert_eq!(OriginPattern::parse(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn a_star_elsewhere_is_not_a_pattern() {
        for text in [
            "*",
            "*.example.org",
            "https://*",
            "https://*.",
            "https://*.:8443",
            "https://*:8443",
            "https://a.*.org",
            "https://a*.example.org",
            "https://*.*.example.org",
            "https://*.192.0.2.1",
            "https://*.example.org/path",
            "tauri://*.localhost",
        ] {
            assert_eq!(OriginPattern::parse(text), Err(WebOriginError), "{text}");
        }
    }
}
