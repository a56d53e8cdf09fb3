//! The opening handshake (RFC 6455 section 4.2), and where a token may stand in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::http::error::Error;
use crate::http::request::Request;
use crate::http::response::Response;

/// Appended to the key of the handshake (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol before a token.
const BEARER: &str = "bearer";
/// The subprotocol of the extended protocol.
const EXTENDED: &str = "parlor.v1";

/// Answers an upgrade to WebSocket, with the extended protocol if `is_extended`. permessage-deflate is not taken up:
/// it doubles the cost of an idle connection.
///
/// # Errors
/// 400 and 426 where the request is no such upgrade.
pub(super) fn accept(request: &Request, is_extended: bool) -> Result<Response, Error> {
    if !names(request, header::CONNECTION, "upgrade")
        || !names(request, header::UPGRADE, "websocket")
        || request.method() != Method::GET
    {
        return Err(upgrade_required("This path speaks WebSocket"));
    }
    if request.header(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(upgrade_required(
            "Only version 13 of WebSocket is spoken here",
        ));
    }
    let key = request.header(header::SEC_WEBSOCKET_KEY).unwrap_or("");
    if !matches!(STANDARD.decode(key), Ok(nonce) if nonce.len() == 16) {
        return Err(Error::bad_request("Sec-WebSocket-Key is not valid"));
    }
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&accept_key(key)).map_err(|_| Error::internal())?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if is_extended {
        let extended = HeaderValue::from_static(EXTENDED);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, extended);
    } else if subprotocols(request).any(|offered| offered == BEARER) {
        let bearer = HeaderValue::from_static(BEARER);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, bearer);
    }
    Ok(response)
}

/// Whether the client offers the extended protocol.
pub(super) fn offers_extended(request: &Request) -> bool {
    subprotocols(request).any(|offered| offered == EXTENDED)
}

/// The token: `?token=`, `Authorization: Bearer`, or the subprotocol after `bearer`.
pub(super) fn token(request: &Request) -> Option<String> {
    let offered = || {
        let mut offered = subprotocols(request).skip_while(|offered| *offered != BEARER);
        offered.nth(1).map(str::to_owned)
    };
    let header = || request.bearer().map(str::to_owned);
    request.query("token").or_else(header).or_else(offered)
}

fn accept_key(key: &str) -> String {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(GUID);
    STANDARD.encode(digest.finish())
}

fn subprotocols(request: &Request) -> impl Iterator<Item = &str> {
    listed(request, header::SEC_WEBSOCKET_PROTOCOL)
}

/// Whether the list of a header contains a word, regardless of case.
fn names(request: &Request, header: HeaderName, word: &str) -> bool {
    listed(request, header).any(|listed| listed.eq_ignore_ascii_case(word))
}

/// The items of a header that is a list, over all its lines.
fn listed(request: &Request, header: HeaderName) -> impl Iterator<Item = &str> {
    let lines = request.headers().get_all(header).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

fn upgrade_required(detail: &'static str) -> Error {
    Error::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", detail)
        .with(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_answered_as_in_the_rfc() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
