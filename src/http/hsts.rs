//! HSTS (RFC 6797): that this host is to be asked over TLS alone, for whoever has asked it so.

use hyper::header::{self, HeaderValue};

use super::response::Response;
use crate::config::TlsMode;

/// Half a year: whoever gives TLS up can wait for it.
const POLICY: HeaderValue = HeaderValue::from_static("max-age=15552000");

/// Adds it to an answer within TLS, where the certificate is one that browsers believe. Where `host`
/// has a port, the host has another server at the usual one, which has its own say.
pub fn add(response: &mut Response, mode: TlsMode, host: Option<&str>) {
    let believed = match mode {
        TlsMode::Off | TlsMode::SelfSigned => false,
        TlsMode::Files | TlsMode::Acme => true,
    };
    let usual = host.is_some_and(|host| match host.rsplit_once(':') {
        Some((_, port)) => port.ends_with(']') || port == "443",
        None => true,
    });
    if believed && usual {
        let headers = response.headers_mut();
        headers.insert(header::STRICT_TRANSPORT_SECURITY, POLICY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_believed_certificates_at_the_usual_port() {
        let told = |mode, host| {
            let mut response = Response::default();
            add(&mut response, mode, host);
            response
                .headers()
                .contains_key(header::STRICT_TRANSPORT_SECURITY)
        };
        for host in ["a.example", "a.example:443", "[2001:db8::1]"] {
            assert!(told(TlsMode::Files, Some(host)), "{host}");
            assert!(told(TlsMode::Acme, Some(host)), "{host}");
            assert!(!told(TlsMode::SelfSigned, Some(host)), "{host}");
        }
        for host in [None, Some("a.example:8443"), Some("[2001:db8::1]:80")] {
            assert!(!told(TlsMode::Files, host), "{host:?}");
        }
    }
}
