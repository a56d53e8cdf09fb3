//! The embedded pages: a room at `/r/{room}`, and an introduction at `/`.
//!
//! Everything is embedded and named in one table. A page asks no other host for anything, which
//! the content security policy enforces, and runs no inline script. Nothing here knows a room or
//! a person: the page asks the API like any other frontend.

pub(super) mod missing;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};

use super::error::Error;
use super::page_policy::POLICIES;
use super::request::Request;
use super::response::Response;
use super::route::Route;

/// One embedded file.
struct File {
    path: &'static str,
    mime: &'static str,
    body: &'static [u8],
    /// SHA-256 of the body: the same build gives the same tag, on every node.
    etag: String,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

static ROOM: LazyLock<File> =
    LazyLock::new(|| File::new("/r/", HTML, include_bytes!("page/room.html")));

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    vec![
        File::new("/", HTML, include_bytes!("page/index.html")),
        File::new("/assets/icon.svg", SVG, include_bytes!("page/icon.svg")),
        File::new("/assets/style.css", CSS, include_bytes!("page/style.css")),
        File::new("/assets/room.js", JS, include_bytes!("page/room.js")),
        File::new("/assets/api.js", JS, include_bytes!("page/api.js")),
        File::new("/assets/client.js", JS, include_bytes!("page/client.js")),
        File::new(
            "/assets/client_check.js",
            JS,
            include_bytes!("page/client_check.js"),
        ),
        File::new(
            "/assets/client_http.js",
            JS,
            include_bytes!("page/client_http.js"),
        ),
        File::new(
            "/assets/client_ice.js",
            JS,
            include_bytes!("page/client_ice.js"),
        ),
        File::new(
            "/assets/client_pending.js",
            JS,
            include_bytes!("page/client_pending.js"),
        ),
        File::new(
            "/assets/client_plain.js",
            JS,
            include_bytes!("page/client_plain.js"),
        ),
        File::new(
            "/assets/client_token.js",
            JS,
            include_bytes!("page/client_token.js"),
        ),
        File::new("/assets/call.js", JS, include_bytes!("page/call.js")),
        File::new("/assets/peer.js", JS, include_bytes!("page/peer.js")),
        File::new(
            "/assets/client_path.js",
            JS,
            include_bytes!("page/client_path.js"),
        ),
        File::new("/assets/limits.js", JS, include_bytes!("page/limits.js")),
        File::new("/assets/quality.js", JS, include_bytes!("page/quality.js")),
        File::new("/assets/lease.js", JS, include_bytes!("page/lease.js")),
        File::new("/assets/leaving.js", JS, include_bytes!("page/leaving.js")),
        File::new(
            "/assets/microphone.js",
            JS,
            include_bytes!("page/microphone.js"),
        ),
        File::new("/assets/codecs.js", JS, include_bytes!("page/codecs.js")),
        File::new(
            "/assets/redundancy.js",
            JS,
            include_bytes!("page/redundancy.js"),
        ),
        File::new("/assets/storage.js", JS, include_bytes!("page/storage.js")),
        File::new("/assets/sound.js", JS, include_bytes!("page/sound.js")),
        File::new("/assets/ui.js", JS, include_bytes!("page/ui.js")),
        File::new("/assets/strings.js", JS, include_bytes!("page/strings.js")),
    ]
});

pub(super) fn routes() -> Vec<Route> {
    let paths = ["/", "/r/{room}", "/assets/{file}"];
    let route = |path| Route::new(Method::GET, path, |r| Box::pin(page(r)));
    paths.map(route).into()
}

async fn page(request: Request) -> Result<Response, Error> {
    let known = request.header(header::IF_NONE_MATCH);
    let path = request.uri().path();
    let mut response =
        answer(path, known).ok_or_else(|| Error::not_found("There is no such page"))?;
    let settings = request.app.settings();
    if path.starts_with(ROOM.path)
        && let Some(policy) = &request.state.derived.get(&settings).framed_policy
    {
        let name = header::CONTENT_SECURITY_POLICY;
        response.headers_mut().insert(name, policy.clone());
    }
    Ok(response)
}

/// The file at `path`, or `304 Not Modified` where the browser has it already.
fn answer(path: &str, if_none_match: Option<&str>) -> Option<Response> {
    let file = find(path)?;
    let unchanged = if_none_match.is_some_and(|tags| matches(tags, &file.etag));
    let (status, body) = if unchanged {
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        (StatusCode::OK, Bytes::from_static(file.body))
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in POLICIES {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.mime));
    let etag = HeaderValue::from_str(&file.etag).expect("base64 in quotes is a header value");
    headers.insert(header::ETAG, etag);
    Some(response)
}

fn find(path: &str) -> Option<&'static File> {
    match path.strip_prefix("/r/") {
        Some(room) if !room.is_empty() && !room.contains('/') => Some(&ROOM),
        _ => FILES.iter().find(|file| file.path == path),
    }
}

/// `If-None-Match` (RFC 9110 §13.1.2): a list of tags, compared weakly, or `*`.
fn matches(tags: &str, etag: &str) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

impl File {
    fn new(path: &'static str, mime: &'static str, body: &'static [u8]) -> File {
        let digest = ring::digest::digest(&ring::digest::SHA256, body);
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest));
        File {
            path,
            mime,
            body,
            etag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_one_segment_under_r() {
        assert!(answer("/r/lobby", None).is_some());
        assert!(answer("/r/", None).is_none());
        assert!(answer("/r/lobby/more", None).is_none());
        assert!(answer("/assets/", None).is_none());
    }

    #[test]
    fn a_browser_that_has_the_file_gets_304() {
        let first = answer("/assets/room.js", None).expect("a file");
        let tag = first.headers()[header::ETAG].to_str().expect("ASCII");
        for tags in [tag, "*", &format!("\"other\", W/{tag}")] {
            let again = answer("/assets/room.js", Some(tags)).expect("a file");
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{tags}");
        }
        let changed = answer("/assets/room.js", Some("\"other\"")).expect("a file");
        assert_eq!(changed.status(), StatusCode::OK);
    }

    /// A file that a page or a module names but the table lacks would fail only in a browser, when
    /// that line runs.
    #[test]
    fn every_asset_that_is_named_exists() {
        for file in FILES.iter().chain([&*ROOM]) {
            let text = std::str::from_utf8(file.body).expect("UTF-8");
            for name in named_assets(text) {
                let path = format!("/assets/{name}");
                assert!(find(&path).is_some(), "{} names {path}", file.path);
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_is_fetched_from_elsewhere() {
        for file in FILES.iter().chain([&*ROOM]) {
            let text = std::str::from_utf8(file.body).expect("UTF-8");
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for forbidden in [
                "https://",
                "http://",
                "style=\"",
                "onclick",
                "<style",
                "innerHTML",
            ] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", file.path);
            }
            let scripts = text.matches("<script").count();
            assert_eq!(
                scripts,
                text.matches("<script type=\"module\" src=").count()
            );
        }
    }

    fn named_assets(text: &str) -> Vec<&str> {
        let links = text.split("assets/").skip(1);
        let imports = text.split("from './").skip(1);
        links
            .chain(imports)
            .filter_map(|rest| rest.split(['"', '\'']).next())
            .collect()
    }
}
