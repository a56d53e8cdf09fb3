//! The 404 response as an HTML page, for users who mistyped an address.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};

use super::HTML;
use crate::http::page_policy::POLICIES;
use crate::http::response::Response;

const TEMPLATE: &str = include_str!("missing.html");

/// The path prefixes of APIs.
const API: &str = "/api/";

/// Maximum number of `../` steps to the site's root.
const MAX_DEPTH: usize = 32;

/// The number of `../` steps from a path to the root if a browser requests it; `None` for a program,
/// which gets JSON.
pub(crate) fn depth(method: &Method, path: &str, headers: &HeaderMap) -> Option<usize> {
    let reads = method == Method::GET || method == Method::HEAD;
    let person = reads && !path.starts_with(API) && accepts_html(headers);
    person.then(|| path.matches('/').count().saturating_sub(1).min(MAX_DEPTH))
}

/// The page. Its links are relative, since a proxy may serve this site below a path.
pub(crate) fn page(depth: usize) -> Response {
    let body = TEMPLATE.replace("{root}", &"../".repeat(depth));
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let headers = response.headers_mut();
    for (name, value) in POLICIES {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Whether `Accept` names HTML, as browsers do for navigation. `*/*` alone indicates a program.
fn accepts_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values.filter_map(|value| value.to_str().ok());
    ranges.flat_map(|text| text.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let html = parts
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let refused = parts.any(|parameter| {
            let weight = parameter
                .strip_prefix("q=")
                .or(parameter.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse() == Ok(0.0))
        });
        html && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(accept: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        headers
    }

    #[test]
    fn a_page_is_for_those_who_accept_html_and_read_no_api() {
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        let found = |method, path, accept| depth(&method, path, &accepting(accept));
        assert_eq!(found(Method::GET, "/nonexistent", browser), Some(0));
        assert_eq!(found(Method::HEAD, "/r/lobby/", "TEXT/HTML;q=0.1"), Some(2));
        assert_eq!(found(Method::POST, "/nonexistent", browser), None);
        assert_eq!(found(Method::GET, "/api/rooms/x", browser), None);
        for accept in [
            "*/*",
            "application/json",
            "text/html;q=0",
            "text/html; q=0.000",
        ] {
            assert_eq!(found(Method::GET, "/nonexistent", accept), None, "{accept}");
        }
    }
}
