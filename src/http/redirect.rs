//! Redirects requests without TLS to HTTPS.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{StatusCode, Uri};

use super::error::Error;
use super::forwarded::ClientInfo;
use super::response::Response;
use crate::config::{self, Config};
use crate::url::{Authority, WebUrl};

/// Authorities validate HTTP-01 challenges without TLS (RFC 8555 section 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Whether a request without TLS is served: an ACME validation, or HTTPS that ended at a trusted proxy.
pub(super) fn is_served(uri: &Uri, client_info: &ClientInfo) -> bool {
    client_info.https == Some(true) || uri.path().starts_with(CHALLENGES)
}

/// Redirects to the same path over HTTPS: on `server.public_url`, else on the requested `host` at the
/// port of `http.listen`.
///
/// # Errors
/// 400 if no host is known.
pub(super) fn by_https(
    config: &Config,
    uri: &Uri,
    host: Option<Authority>,
    port: u16,
) -> Result<Response, Error> {
    let base = public(config).or_else(|| Some(WebUrl::https(host?.into_host(), port)));
    let base = base.ok_or_else(|| Error::bad_request("This is spoken over HTTPS alone"))?;
    let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
    let place = HeaderValue::try_from(format!("{base}{rest}"));
    let place = place.map_err(|_| Error::bad_request("The address can't be sent on"))?;
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, place);
    // A cached redirect would lock users out after an admin turns TLS off.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn public(config: &Config) -> Option<WebUrl> {
    config::public_url(config).filter(WebUrl::is_https)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn place(public: Option<&str>, uri: &str, host: Option<&str>, port: u16) -> Option<String> {
        let mut config = Config::default();
        config.server.public_url = public.map(str::to_owned);
        let host = host.map(|host| Authority::parse(host).unwrap());
        let response = by_https(&config, &uri.parse().unwrap(), host, port).ok()?;
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        let place = response.headers()[header::LOCATION].to_str().unwrap();
        Some(place.to_owned())
    }

    #[test]
    fn a_request_is_redirected_to_the_public_url_or_the_requested_host() {
        let talk = "https://talk.example.org";
        for (public, uri, host, port, expected) in [
            (
                Some(talk),
                "/r/a?b=c",
                Some("x"),
                1,
                "https://talk.example.org/r/a?b=c",
            ),
            (None, "/", Some("a.example:80"), 443, "https://a.example/"),
            (
                None,
                "/x",
                Some("a.example"),
                8443,
                "https://a.example:8443/x",
            ),
            (
                None,
                "/",
                Some("[2001:db8::1]:80"),
                443,
                "https://[2001:db8::1]/",
            ),
            (
                None,
                "/",
                Some("[2001:db8::1]"),
                443,
                "https://[2001:db8::1]/",
            ),
            // A page that is said to be at http can't be meant.
            (
                Some("http://a.example"),
                "/",
                Some("b.example"),
                443,
                "https://b.example/",
            ),
        ] {
            assert_eq!(place(public, uri, host, port).as_deref(), Some(expected));
        }
        assert_eq!(place(None, "/", None, 443), None);
    }

    #[test]
    fn acme_validations_and_https_requests_to_a_proxy_are_served() {
        let client_info = |https| ClientInfo {
            https,
            ..ClientInfo::direct(IpAddr::from([192, 0, 2, 1]))
        };
        let served = |path: &str, https| is_served(&path.parse().unwrap(), &client_info(https));
        assert!(served("/.well-known/acme-challenge/abc", None));
        assert!(served("/r/lobby", Some(true)));
        for path in ["/", "/r/lobby", "/.well-known/security.txt"] {
            assert!(!served(path, None) && !served(path, Some(false)), "{path}");
        }
    }
}
