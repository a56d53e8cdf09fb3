//! A request, an answer, and the error that is an answer too.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::App;
use super::connection_limit::ConnectionPermit;
use super::forwarded::ClientInfo;

/// Every answer is complete before it is sent.
pub type Response = hyper::Response<Full<Bytes>>;

/// A request that found its route.
pub struct Request {
    pub app: Arc<App>,
    /// UserCell asks, proxies in between left out.
    pub client_info: ClientInfo,
    user: UserCell,
    /// The connection's share of those that may be open.
    pub(super) permit: ConnectionPermit,
    parts: Parts,
    body: Incoming,
    params: Vec<(String, String)>,
}

/// The id of the user whom a request turns out to come from: what log lines have in common.
pub(super) type UserCell = Arc<OnceLock<Box<str>>>;

/// Where a request comes from.
#[derive(Clone)]
pub(super) struct RequestContext {
    pub client_info: ClientInfo,
    pub user: UserCell,
    pub permit: ConnectionPermit,
}

/// An answer that says what is wrong: `{"detail": "human sentence", "code": "machine-word"}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {detail}")]
pub struct Error {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: Cow<'static, str>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Request {
    pub(super) fn new(
        app: Arc<App>,
        context: RequestContext,
        request: hyper::Request<Incoming>,
        params: Vec<(String, String)>,
    ) -> Request {
        let (parts, body) = request.into_parts();
        Request {
            app,
            client_info: context.client_info,
            user: context.user,
            permit: context.permit,
            parts,
            body,
            params,
        }
    }

    /// The request comes from this user.
    pub fn set_user(&self, user: &str) {
        let _ = self.user.set(user.into());
    }

    pub(super) fn user_cell(&self) -> UserCell {
        self.user.clone()
    }

    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    pub fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A header as text; `None` where it is absent or not ASCII.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The host, and the port where there is one, that the client asked for.
    pub fn host(&self) -> Option<&str> {
        let asked = self.header(header::HOST);
        let asked = asked.or(self.parts.uri.authority().map(|a| a.as_str()));
        self.client_info.host.as_deref().or(asked)
    }

    /// A `{name}` of the route's path, decoded where it can be; empty where the route has none of that name.
    pub fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The first value of a key of the query string, decoded; empty where it can't be.
    pub fn query(&self, key: &str) -> Option<String> {
        form_value(self.parts.uri.query()?, key)
    }

    /// The token of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    }

    /// What becomes of the connection once it was told to switch protocols; `None` where the
    /// client did not ask for that, or this was asked before.
    pub(super) fn upgrade(&mut self) -> Option<OnUpgrade> {
        self.parts.extensions.remove()
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413 past `http.max_body`, 400 where the client ends early.
    pub async fn body(self) -> Result<Bytes, Error> {
        let limit = self.app.settings().config.http.max_body;
        match Limited::new(self.body, limit).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(Error::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("The body is larger than {limit} bytes"),
            )),
            Err(_) => Err(Error::bad_request("The body ended early")),
        }
    }

    /// The body as a JSON object; `wanted` says what is in it, as the end of a sentence.
    ///
    /// # Errors
    /// As [`Request::body`]; 400 where it is not the JSON that is asked for.
    pub async fn json<T: DeserializeOwned>(self, wanted: &str) -> Result<T, Error> {
        let body = self.body().await?;
        read_object(&body, wanted)?.ok_or_else(|| not_an_object(wanted))
    }
}

/// Reads a JSON object; `None` for `null`. Arrays, which serde would take for structs too, are none.
///
/// # Errors
/// 400, by a sentence that ends with `wanted` and repeats nothing of the body.
pub fn read_object<T: DeserializeOwned>(body: &[u8], wanted: &str) -> Result<Option<T>, Error> {
    let read = || {
        let object: Option<Map<String, Value>> = serde_json::from_slice(body)?;
        object
            .map(|object| T::deserialize(Value::Object(object)))
            .transpose()
    };
    read().map_err(|_: serde_json::Error| not_an_object(wanted))
}

fn not_an_object(wanted: &str) -> Error {
    Error::bad_request(format!("The body must be a JSON object {wanted}"))
}

impl Error {
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Error {
        Error {
            status,
            code,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(StatusCode::CONFLICT, code, detail)
    }

    /// What a client may know of a fault of ours; the cause belongs in the log.
    pub fn internal() -> Error {
        Error::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on the server",
        )
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Error {
        self.headers.push((name, value));
        self
    }

    pub fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            detail: &'a str,
            code: &'a str,
        }
        let mut response = json(
            self.status,
            &Body {
                detail: &self.detail,
                code: self.code,
            },
        );
        response.headers_mut().extend(self.headers);
        response
    }
}

/// An answer in JSON, never to be cached.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_vec(value) else {
        return Error::internal().into_response();
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

/// The first value of a key in `a=1&b=2`, decoded; empty where it can't be.
pub(super) fn form_value(form: &str, key: &str) -> Option<String> {
    let pairs = form
        .split('&')
        .map(|p| p.split_once('=').unwrap_or((p, "")));
    let mut values = pairs.filter(|(k, _)| decode(k, true).as_deref() == Some(key));
    // What can't be decoded was given all the same, and is nothing that anybody could mean.
    Some(decode(values.next()?.1, true).unwrap_or_default())
}

/// Undoes percent-encoding; in a query, `+` is a space. `None` where the result is not UTF-8.
pub(super) fn decode(text: &str, query: bool) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => return None,
            },
            (b'%', _) => return None,
            (b'+', tail) if query => (b' ', tail),
            (byte, tail) => (byte, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("a%20b+c", true).as_deref(), Some("a b c"));
        assert_eq!(decode("a%2Fb+c", false).as_deref(), Some("a/b+c"));
        assert_eq!(decode("%c3%a9", false).as_deref(), Some("é"));
    }

    #[test]
    fn broken_percent_encoding_has_no_meaning() {
        for text in ["%", "%2", "%zz", "%ff", "a%+1"] {
            assert_eq!(decode(text, true), None, "{text}");
        }
    }

    #[test]
    fn an_error_carries_a_sentence_and_a_word() {
        let response = Error::unauthorized("UserCell are you?").into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    }
}
