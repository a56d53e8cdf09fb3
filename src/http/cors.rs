//! The origins of web pages that may call the API (CORS).
//!
//! There are no cookies, so an origin has no rights by itself: unless `http.allowed_origins` is set, any
//! page may call without credentials. If it is set, pages of this host, such as the embedded one, may too.

use std::time::Duration;

use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderValue};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::forwarded::ClientInfo;
use crate::url::{OriginPattern, WebOrigin};

/// Returns the layer that answers preflights and names the origins that may read a response.
pub(super) fn layer(allowed: &[OriginPattern]) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        // `*` would not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        // Pages can read no other header with a wait time.
        .expose_headers([header::RETRY_AFTER])
        .max_age(Duration::from_secs(3600));
    if allowed.is_empty() {
        return layer.allow_origin(Any);
    }
    let allowed = allowed.to_vec();
    layer
        .allow_origin(AllowOrigin::predicate(move |origin, _| {
            is_listed(&allowed, origin)
        }))
        .allow_credentials(true)
}

/// Whether the origin of a request is allowed.
pub(super) fn is_allowed(
    allowed: &[OriginPattern],
    headers: &HeaderMap,
    client_info: &ClientInfo,
) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true; // not a page
    };
    allowed.is_empty() || is_listed(allowed, origin) || is_same_server(origin, headers, client_info)
}

fn is_listed(allowed: &[OriginPattern], origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    allowed.iter().any(|pattern| pattern.includes(origin))
}

fn is_same_server(origin: &HeaderValue, headers: &HeaderMap, client_info: &ClientInfo) -> bool {
    let server = client_info.requested_host(headers);
    let origin = origin
        .to_str()
        .ok()
        .and_then(|text| WebOrigin::parse(text).ok());
    matches!((origin, server), (Some(origin), Some(server)) if origin.is_same_server(&server))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::url::Authority;

    fn client(host: Option<&str>) -> ClientInfo {
        ClientInfo {
            host: host.map(|host| Authority::parse(host).unwrap()),
            ..ClientInfo::direct(IpAddr::from([192, 0, 2, 1]))
        }
    }

    fn headers(origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("talk.example:8000"));
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        headers
    }

    #[test]
    fn an_empty_list_allows_every_origin() {
        let elsewhere = headers("https://elsewhere.example");
        assert!(is_allowed(&[], &elsewhere, &client(None)));
    }

    #[test]
    fn a_list_allows_its_origins_and_this_host_alone() {
        let list = [OriginPattern::parse("https://app.example").unwrap()];
        assert!(is_allowed(
            &list,
            &headers("https://app.example"),
            &client(None)
        ));
        assert!(is_allowed(
            &list,
            &headers("http://talk.example:8000"),
            &client(None)
        ));
        assert!(is_allowed(&list, &HeaderMap::new(), &client(None)));
        for origin in [
            "https://app.example.evil",
            "null",
            "http://talk.example",
            "",
            "https://talk.example:8000/x",
            "https://user@talk.example:8000",
        ] {
            assert!(
                !is_allowed(&list, &headers(origin), &client(None)),
                "{origin}"
            );
        }
    }

    #[test]
    fn this_host_is_the_one_that_a_trusted_proxy_names() {
        let list = [OriginPattern::parse("https://app.example").unwrap()];
        let own = headers("https://voice.example");
        assert!(is_allowed(&list, &own, &client(Some("voice.example"))));
        assert!(!is_allowed(&list, &own, &client(Some("talk.example"))));
    }
}
