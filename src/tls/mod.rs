//! TLS: the certificate with its key (from files, self-signed, or by ACME) and the configuration of rustls.
//!
//! Each handshake uses the current certificate, so that a new one replaces it without ending connections.

mod cert_resolver;
mod client;
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

use crate::url::Host;

pub use cert_resolver::{CertResolver, CertificateStatus, RenewalFailure};
pub use client::{Verification, client_config};
pub use pem_files::{PemFile, PemFileError, parse, read};
pub use self_signed::{GenerateError, challenge, self_signed};
pub use validity::Validity;

/// The ALPN name of TURN over TLS (RFC 7443). Clients may omit ALPN.
pub const STUN_TURN: &[u8] = b"stun.turn";

/// The ALPN name of HTTP/2 (RFC 9113 section 3.2).
pub const HTTP_2: &[u8] = b"h2";

/// The ALPN name of HTTP/1.1 (RFC 7301 section 6).
pub const HTTP_1: &[u8] = b"http/1.1";

/// The ALPN name of an authority that validates a TLS-ALPN-01 challenge (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// A certificate chain and its private key: what other TLS libraries call an identity, too.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// Of the chain and the key, for comparison.
    digest: Digest,
    validity: Validity,
}

impl Identity {
    /// The validity of the first certificate.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether the certificate is valid for `host`: a name or an address, IPv6 with or without brackets.
    pub fn is_valid_for(&self, host: &str) -> bool {
        let Ok(host) = Host::parse(host) else {
            return false;
        };
        let Ok(name) = ServerName::try_from(host.unbracketed()) else {
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

/// Returns a server configuration for TLS 1.2 and 1.3 with session tickets. A client with ALPN must offer
/// one of `protocols`; a client without ALPN is accepted. An authority that validates a challenge offers
/// [`ACME_TLS`], and expects nothing after the handshake.
///
/// # Errors
/// The system returns no random bytes for the ticket keys.
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

/// Passed explicitly: nothing depends on the default provider of the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
