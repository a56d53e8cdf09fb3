//! What handshakes are answered with at the moment, and how the certificate is doing.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{ACME_TLS, Identity, Validity};

/// The identity that handshakes are answered with, and the answers to the challenges of an authority
/// while it looks for them (RFC 8555 §8).
#[derive(Default)]
pub struct CertResolver(RwLock<State>);

#[derive(Default)]
struct State {
    identity: Option<Identity>,
    renewal_failure: Option<RenewalFailure>,
    /// TLS-ALPN-01: certificates by the domain in question.
    certificates: HashMap<String, Arc<CertifiedKey>>,
    /// HTTP-01: key authorizations by their token.
    tokens: HashMap<String, String>,
}

/// Why there is no new certificate, and when it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalFailure {
    /// A sentence without its full stop.
    pub reason: String,
    /// Unix seconds.
    pub next: u64,
}

/// How the certificate is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// `None` where there is none yet.
    pub validity: Option<Validity>,
    pub fingerprint: Option<String>,
    pub renewal_failure: Option<RenewalFailure>,
}

impl CertResolver {
    pub fn new(identity: &Identity) -> Arc<CertResolver> {
        let resolver = CertResolver::default();
        resolver.swap(identity);
        Arc::new(resolver)
    }

    /// From now on handshakes are answered with this one; what was negotiated before stays.
    pub fn swap(&self, identity: &Identity) {
        let mut held = self.write();
        held.identity = Some(identity.clone());
        held.renewal_failure = None;
    }

    /// What handshakes are answered with; nothing where there is no certificate yet.
    pub fn identity(&self) -> Option<Identity> {
        self.read().identity.clone()
    }

    /// Tells of an attempt at another certificate that failed.
    pub fn set_renewal_failure(&self, failure: RenewalFailure) {
        self.write().renewal_failure = Some(failure);
    }

    pub fn status(&self) -> CertificateStatus {
        let held = self.read();
        let identity = held.identity.as_ref();
        CertificateStatus {
            validity: identity.map(Identity::validity),
            fingerprint: identity.map(Identity::fingerprint),
            renewal_failure: held.renewal_failure.clone(),
        }
    }

    /// From now on an authority that asks for `domain` (TLS-ALPN-01) gets this.
    pub fn add_tls_alpn_challenge(&self, domain: &str, certificate: Arc<CertifiedKey>) {
        let mut held = self.write();
        held.certificates.insert(domain.to_owned(), certificate);
    }

    /// From now on an authority that asks for `token` (HTTP-01) gets this.
    pub fn add_http_challenge(&self, token: &str, key_authorization: &str) {
        let mut held = self.write();
        held.tokens
            .insert(token.to_owned(), key_authorization.to_owned());
    }

    /// What an authority is told that asks for `token`.
    pub fn key_authorization(&self, token: &str) -> Option<String> {
        self.read().tokens.get(token).cloned()
    }

    /// From now on no challenge is answered any more.
    pub fn clear_challenges(&self) {
        let mut held = self.write();
        held.certificates.clear();
        held.tokens.clear();
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CertResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertResolver")
    }
}

impl ResolvesServerCert for CertResolver {
    /// Whoever would speak [`ACME_TLS`] gets the certificate of a challenge or nothing.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = hello.alpn().into_iter().flatten();
        let held = self.read();
        if offered.any(|name| name == ACME_TLS) {
            let domain = hello.server_name()?.to_ascii_lowercase();
            return held.certificates.get(&domain).cloned();
        }
        let identity = held.identity.as_ref()?;
        Some(identity.certified.clone())
    }
}
