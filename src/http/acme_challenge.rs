//! Answers ACME challenges (HTTP-01, RFC 8555 section 8.3).

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use hyper::header::{self, HeaderValue};

use super::error::Error;
use super::request::Request;
use super::response::Response;
use super::route::Route;

/// Not part of the described API.
pub(super) fn routes() -> Vec<Route> {
    const PATH: &str = "/.well-known/acme-challenge/{token}";
    vec![Route::new(Method::GET, PATH, |r| Box::pin(answer(r)))]
}

async fn answer(request: Request) -> Result<Response, Error> {
    let certificate = request.app.certificate.as_ref();
    let answer = certificate.and_then(|one| one.key_authorization(request.param("token")));
    let answer = answer.ok_or_else(|| Error::not_found("No challenge of this name is open"))?;
    let mut response = Response::new(Full::new(Bytes::from(answer)));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
