//! Parameters of requests: page sizes and content types.

use hyper::StatusCode;
use hyper::header;

use crate::http::{Error, Request};

/// `?limit=`, or `usual`.
pub fn page_size(request: &Request, usual: u32, largest: u32) -> Result<u32, Error> {
    let Some(text) = request.query("limit") else {
        return Ok(usual);
    };
    let size = text.parse().ok();
    size.filter(|size| (1..=largest).contains(size))
        .ok_or_else(|| Error::bad_request(format!("`limit` must be 1 to {largest}")))
}

/// 415 where the body does not say that it is JSON. A page of another origin cannot say so without
/// asking first.
pub fn require_json(request: &Request) -> Result<(), Error> {
    match is_json(request) {
        true => Ok(()),
        false => Err(unsupported(
            "Send JSON, with `Content-Type: application/json`",
        )),
    }
}

pub fn unsupported(detail: &'static str) -> Error {
    Error::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        detail,
    )
}

pub fn is_json(request: &Request) -> bool {
    media_type(request).eq_ignore_ascii_case("application/json")
}

/// What the body says it is, without parameters.
pub fn media_type(request: &Request) -> &str {
    let kind = request.header(header::CONTENT_TYPE).unwrap_or("");
    kind.split(';').next().unwrap_or("").trim()
}
