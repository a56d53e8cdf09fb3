//! HSTS (RFC 6797): browsers that used HTTPS once do not use HTTP later.

use hyper::header::{self, HeaderValue};

use super::response::Response;
use crate::config::TlsMode;
use crate::url::Authority;

/// Half a year, in seconds.
const POLICY: HeaderValue = HeaderValue::from_static("max-age=15552000");

/// Adds the policy to a response over TLS if browsers trust the certificate, and `host` has the default
/// port: at another port, the policy would also apply to the server at the default port.
pub(super) fn add(response: &mut Response, mode: TlsMode, host: Option<&Authority>) {
    let is_trusted = match mode {
        TlsMode::Off | TlsMode::SelfSigned => false,
        TlsMode::Files | TlsMode::Acme => true,
    };
    let is_default_port = host.is_some_and(|host| matches!(host.port(), None | Some(443)));
    if is_trusted && is_default_port {
        let headers = response.headers_mut();
        headers.insert(header::STRICT_TRANSPORT_SECURITY, POLICY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_sent_for_trusted_certificates_at_the_default_port_alone() {
        let is_sent = |mode, host: Option<&str>| {
            let mut response = Response::default();
            let host = host.map(|host| Authority::parse(host).unwrap());
            add(&mut response, mode, host.as_ref());
            response
                .headers()
                .contains_key(header::STRICT_TRANSPORT_SECURITY)
        };
        for host in ["a.example", "a.example:443", "[2001:db8::1]"] {
            assert!(is_sent(TlsMode::Files, Some(host)), "{host}");
            assert!(is_sent(TlsMode::Acme, Some(host)), "{host}");
            assert!(!is_sent(TlsMode::SelfSigned, Some(host)), "{host}");
        }
        for host in [None, Some("a.example:8443"), Some("[2001:db8::1]:80")] {
            assert!(!is_sent(TlsMode::Files, host), "{host:?}");
        }
    }
}
