//! Parameters of requests: page sizes and content types.

use hyper::StatusCode;
use hyper::header;

use crate::http::{Error, Request};

/// The page size: `?limit=`, or `usual`.
pub(super) fn page_size(request: &Request, usual: u32, largest: u32) -> Result<u32, Error> {
    let Some(text) = request.query("limit") else {
        return Ok(usual);
    };
    let size = text.parse().ok();
    size.filter(|size| (1..=largest).contains(size))
        .ok_or_else(|| Error::bad_request(format!("`limit` must be 1 to {largest}")))
}

/// Rejects a body without the content type of JSON with 415. A page of another origin cannot send that
/// type without a CORS preflight.
pub(super) fn require_json(request: &Request) -> Result<(), Error> {
    if is_json(request) {
        Ok(())
    } else {
        Err(unsupported(
            "Send JSON, with `Content-Type: application/json`",
        ))
    }
}

pub(super) fn unsupported(detail: &'static str) -> Error {
    Error::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        detail,
    )
}

pub(super) fn is_json(request: &Request) -> bool {
    media_type(request).eq_ignore_ascii_case("application/json")
}

/// The media type of the body, without parameters.
pub(super) fn media_type(request: &Request) -> &str {
    let kind = request.header(header::CONTENT_TYPE).unwrap_or("");
    kind.split(';').next().unwrap_or("").trim()
}
