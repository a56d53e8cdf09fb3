//! The request that a handler gets.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tracing::Span;

use super::error::Error;
use super::forwarded::ClientInfo;
use super::state::State;
use crate::ingress::ConnectionPermit;
use crate::service::App;
use crate::url::Authority;

/// A request that found its route.
pub struct Request {
    pub app: Arc<App>,
    pub(super) state: Arc<State>,
    /// The client, behind any trusted proxies.
    pub client_info: ClientInfo,
    /// The permit of the connection.
    pub(super) permit: ConnectionPermit,
    /// The span of the connection, for what outlives the request.
    pub(super) connection_span: Span,
    span: Span,
    parts: Parts,
    /// Until it is read.
    body: Option<Incoming>,
    params: Vec<(String, String)>,
}

/// The connection's knowledge of a request.
pub(super) struct RequestContext {
    pub client_info: ClientInfo,
    pub permit: ConnectionPermit,
    pub connection_span: Span,
}

impl Request {
    /// `span` is the span of the request. It has a field `user`.
    pub(super) fn new(
        state: Arc<State>,
        context: RequestContext,
        span: Span,
        request: hyper::Request<Incoming>,
        params: Vec<(String, String)>,
    ) -> Request {
        let (parts, body) = request.into_parts();
        Request {
            app: state.app.clone(),
            state,
            client_info: context.client_info,
            permit: context.permit,
            connection_span: context.connection_span,
            span,
            parts,
            body: Some(body),
            params,
        }
    }

    /// Records the id of the authenticated user for the log.
    pub fn set_user(&self, user: &str) {
        self.span.record("user", user);
    }

    /// Returns the span of the request, for a handler that learns the user after reading the body.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
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

    /// Returns a header as text; `None` if it is absent or not ASCII.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// Returns the host that the client requested.
    pub fn host(&self) -> Option<Authority> {
        let named = self.client_info.requested_host(&self.parts.headers);
        named.or_else(|| Authority::parse_header(self.parts.uri.authority()?.as_str()).ok())
    }

    /// Returns the decoded value of `{name}` in the route's path; empty if the route has no such parameter.
    pub fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Returns the first value of a key of the query string, decoded.
    pub fn query(&self, key: &str) -> Option<String> {
        form_value(self.parts.uri.query()?, key)
    }

    /// Returns the token of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    }

    /// Returns the future that yields the connection after a switch of protocols. `None` if the client
    /// requested none, or after the first call.
    pub(super) fn upgrade(&mut self) -> Option<OnUpgrade> {
        self.parts.extensions.remove()
    }

    /// Returns the whole body; an empty one after the first call. The client may take a long time to send it, so what a
    /// handler has checked before may have changed.
    ///
    /// # Errors
    /// 413 above `http.max_body`; 400 if the client closes early.
    pub async fn body(&mut self) -> Result<Bytes, Error> {
        let limit = self.app.settings().config.http.max_body;
        let Some(body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        match Limited::new(body, limit).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(Error::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("The body is larger than {limit} bytes"),
            )),
            Err(_) => Err(Error::bad_request("The body ended early")),
        }
    }

    /// Returns the body as a JSON object. `wanted` ends the error's sentence: it names the members.
    ///
    /// # Errors
    /// Those of [`Request::body`]; 400 if the body is no such JSON object.
    pub async fn json<T: DeserializeOwned>(&mut self, wanted: &str) -> Result<T, Error> {
        let body = self.body().await?;
        read_object(&body, wanted)?.ok_or_else(|| not_an_object(wanted))
    }
}

/// Parses a JSON object; `None` for `null`. Rejects arrays, which serde would accept for structs.
///
/// # Errors
/// 400, in a sentence that ends with `wanted` and quotes nothing of the body.
pub(super) fn read_object<T: DeserializeOwned>(
    body: &[u8],
    wanted: &str,
) -> Result<Option<T>, Error> {
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

/// Returns the first value of a key in a form or query such as `a=1&b=2`, decoded.
pub(super) fn form_value(form: &str, key: &str) -> Option<String> {
    form.split('&').find_map(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        // A token is long: only a pair that may have the key is decoded.
        if name != key && !name.contains(['%', '+']) {
            return None;
        }
        let (name, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        (name == key).then(|| value.into_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_value_is_that_of_the_first_pair_with_the_key(form in "[ab=&%+2]{0,12}", key in "[ab +]{0,2}") {
            let mut pairs = form_urlencoded::parse(form.as_bytes());
            let expected = pairs.find(|(name, _)| *name == key);
            let expected = expected.map(|(_, value)| value.into_owned());
            prop_assert_eq!(form_value(&form, &key), expected);
        }
    }

    #[test]
    fn the_first_value_of_a_key_is_decoded() {
        let form = "x=1&token=a%20b+c%C3%A9&token=2&=3&empty";
        assert_eq!(form_value(form, "token").as_deref(), Some("a b cé"));
        assert_eq!(form_value(form, "empty").as_deref(), Some(""));
        assert_eq!(form_value(form, "y"), None);
        assert_eq!(form_value("a%3D=1", "a=").as_deref(), Some("1"));
    }
}
