//! What TLS is spoken with: a certificate and its key, from files, signed by itself or by an authority
//! (ACME), and the settings of rustls around them. A new certificate takes the place of the old one
//! while connections go on: each handshake takes what is there at that moment.

mod cert_resolver;
mod issuer;
mod pem_files;
mod self_signed;
mod validity;

use std::fmt;
use std::sync::Arc;

use ::ring::digest::{Digest, SHA256, digest};
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

pub use cert_resolver::{CertResolver, CertificateStatus, RenewalFailure};
pub use pem_files::{PemFile, PemFileError, parse, read};
pub use self_signed::{GenerateError, challenge, self_signed};
pub use validity::Validity;

/// What is negotiated for TURN over TLS (RFC 7443). Clients may also say nothing.
pub const STUN_TURN: &[u8] = b"stun.turn";

/// HTTP/2 (RFC 9113 section 3.2).
pub const HTTP_2: &[u8] = b"h2";

/// HTTP/1.1 (RFC 7301 section 6).
pub const HTTP_1: &[u8] = b"http/1.1";

/// What an authority negotiates that looks for the certificate of a challenge (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// A certificate with those that lead to it, and its key.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// Of everything that it was made of: what tells it from another.
    digest: Digest,
    validity: Validity,
}

impl Identity {
    /// From when until when clients take it.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether clients take it for this host: a name, or an address (of IPv6, in brackets or not).
    pub fn is_valid_for(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']);
        let Ok(name) = ServerName::try_from(host) else {
            return false;
        };
        let first = self.certified.cert.first();
        let parsed = first.and_then(|first| ParsedCertificate::try_from(first).ok());
        parsed.is_some_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }

    /// Returns the issuer's name if the chain lacks the issuer's certificate: clients without that issuer
    /// among their roots reject the chain.
    pub fn missing_issuer(&self) -> Option<String> {
        issuer::missing(&self.certified.cert)
    }

    /// SHA-256 of the certificate, as browsers show it: `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        let first = self.certified.cert.first();
        let digest = digest(&SHA256, first.map_or(&[], |first| first.as_ref()));
        let bytes = digest.as_ref().iter().map(|byte| format!("{byte:02X}"));
        bytes.collect::<Vec<_>>().join(":")
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.digest.as_ref() == other.digest.as_ref()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Identity");
        shown
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// A server's side of TLS 1.2 and 1.3, with tickets to resume by. A client that names protocols
/// (ALPN) must name one of these; one that names none is taken as well. An authority that looks for
/// the certificate of a challenge names [`ACME_TLS`]; nothing is to be said to it after the handshake.
///
/// # Errors
/// The system gives no random bytes for the keys of the tickets.
pub fn server_config(
    resolver: Arc<CertResolver>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.ticketer = ring::Ticketer::new()?;
    let protocols = protocols.iter().chain([&ACME_TLS]);
    config.alpn_protocols = protocols.map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Named each time, so that nothing depends on which one the process has by default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
