//! The path of `server.public_url`, under which a proxy serves parlor. The proxy may remove or forward it.

use hyper::Uri;
use hyper::http::uri::PathAndQuery;

use crate::config::{self, Config};

/// Returns the base path; empty if parlor is at the root of its host.
pub(super) fn from_config(config: &Config) -> String {
    config::public_url(config).map_or(String::new(), |url| url.path().to_owned())
}

/// Removes the base path from a URI; `None` if the URI is not below it. The base path itself becomes `/`.
pub(super) fn strip(uri: &Uri, base_path: &str) -> Option<Uri> {
    let rest = uri.path().strip_prefix(base_path)?;
    if base_path.is_empty() || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let path = match rest {
        "" => "/",
        rest => rest,
    };
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_path_is_removed_from_paths_below_it() {
        let rest = |uri: &str, base_path| {
            let rest = strip(&uri.parse().unwrap(), base_path)?;
            Some(rest.to_string())
        };
        assert_eq!(rest("/talk/r/a?b=/talk", "/talk").unwrap(), "/r/a?b=/talk");
        assert_eq!(rest("/talk/", "/talk").unwrap(), "/");
        assert_eq!(rest("/talk", "/talk").unwrap(), "/");
        assert_eq!(rest("/a/talk/x", "/a/talk").unwrap(), "/x");
        let absolute = rest("https://a.example/talk/x", "/talk").unwrap();
        assert_eq!(absolute, "https://a.example/x");
        for (uri, base_path) in [("/r/a", "/talk"), ("/talking/x", "/talk"), ("/x", "")] {
            assert_eq!(rest(uri, base_path), None, "{uri}");
        }
    }
}
