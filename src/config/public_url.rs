//! The public URL: `https://talk.example.org`, optionally with a path below which a proxy serves
//! parlor.

use crate::url::WebUrl;

/// The top-level paths of parlor. A base path must not begin with one, or it would be ambiguous
/// whether a proxy stripped the base path.
const RESERVED_SEGMENTS: [&str; 6] = ["api", "assets", "healthz", "r", "readyz", ".well-known"];

/// The required form, as the end of a sentence that began with the key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be http:// or https:// and a host, such as https://talk.example.org, not `{0}`")]
pub(super) struct PublicUrlError(String);

/// Parses `server.public_url`.
///
/// # Errors
/// The text is not a URL, or its base path is one of parlor's own paths.
pub(super) fn parse(text: &str) -> Result<WebUrl, PublicUrlError> {
    match WebUrl::parse(text) {
        Ok(url) if !is_reserved(url.path()) => Ok(url),
        _ => Err(PublicUrlError(text.to_owned())),
    }
}

fn is_reserved(base_path: &str) -> bool {
    let first = base_path.split('/').nth(1);
    first.is_some_and(|first| RESERVED_SEGMENTS.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_may_have_a_base_path() {
        for (text, path) in [
            ("https://a.example", ""),
            ("https://a.example:444/our/talk/", "/our/talk"),
            ("https://a.example/our/api", "/our/api"),
            ("https://a.example/apis", "/apis"),
        ] {
            assert_eq!(parse(text).unwrap().path(), path);
        }
    }

    #[test]
    fn a_base_path_must_not_begin_with_a_path_of_parlor() {
        for text in [
            "https://x/api",
            "https://x/r/lobby",
            "https://x/.well-known/a",
        ] {
            assert!(WebUrl::parse(text).is_ok());
            assert_eq!(parse(text), Err(PublicUrlError(text.to_owned())));
        }
    }

    #[test]
    fn the_error_quotes_the_text() {
        for text in ["", "talk.example.org", " https://u@x"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
