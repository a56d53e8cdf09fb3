//! Responses, and their JSON form.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Serialize;

/// A response. Its body is complete before it is sent.
pub type Response = hyper::Response<Full<Bytes>>;

/// The `detail` of a response to a fault of the server.
pub(super) const INTERNAL_DETAIL: &str = "Something went wrong on the server";

/// Returns a JSON response that must not be cached; status 500 if `value` has no JSON form.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(r#"{{"detail":"{INTERNAL_DETAIL}","code":"internal"}}"#).into_bytes(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
