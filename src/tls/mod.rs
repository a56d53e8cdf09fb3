//! What TLS is spoken with: a certificate and its key from files, and the settings of rustls around
//! them. A new certificate takes the place of the old one while connections go on: each handshake
//! takes what is there at that moment.

mod files;
mod validity;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use ::ring::digest::Digest;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use files::{TlsFault, Which, read};
pub use validity::Validity;

/// What is negotiated for TURN over TLS (RFC 7443). Clients may also say nothing.
pub const STUN_TURN: &[u8] = b"stun.turn";

/// HTTP/2 (RFC 9113 section 3.2).
pub const HTTP_2: &[u8] = b"h2";

/// HTTP/1.1 (RFC 7301 section 6).
pub const HTTP_1: &[u8] = b"http/1.1";

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
    pub fn is_for(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']);
        let Ok(name) = ServerName::try_from(host) else {
            return false;
        };
        let first = self.certified.cert.first();
        let parsed = first.and_then(|first| ParsedCertificate::try_from(first).ok());
        parsed.is_some_and(|parsed| verify_server_name(&parsed, &name).is_ok())
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

/// The identity that handshakes are answered with.
pub struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    pub fn new(identity: &Identity) -> Arc<Current> {
        Arc::new(Current(RwLock::new(identity.certified.clone())))
    }

    /// From now on handshakes are answered with this one; what was negotiated before stays.
    pub fn swap(&self, identity: &Identity) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = identity.certified.clone();
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(held.clone())
    }
}

/// A server's side of TLS 1.2 and 1.3, with tickets to resume by. A client that names protocols
/// (ALPN) must name one of these; one that names none is taken as well.
///
/// # Errors
/// The system gives no random bytes for the keys of the tickets.
pub fn server_config(
    current: Arc<Current>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.ticketer = ring::Ticketer::new()?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Named each time, so that nothing depends on which one the process has by default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
