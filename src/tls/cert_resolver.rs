//! The certificate for new handshakes, and its status.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{ACME_TLS, Identity, Validity};

/// Selects the certificate of a handshake: the current identity, or that of an ACME challenge while an
/// authority validates it (RFC 8555 §8).
#[derive(Default)]
pub struct CertResolver(RwLock<State>);

#[derive(Default)]
struct State {
    identity: Option<Identity>,
    renewal_failure: Option<RenewalFailure>,
    /// TLS-ALPN-01: certificates by domain.
    certificates: HashMap<String, Arc<CertifiedKey>>,
    /// HTTP-01: key authorizations by token.
    tokens: HashMap<String, String>,
}

/// Why the last attempt to get a certificate failed, and when the next one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalFailure {
    /// A sentence without its full stop.
    pub reason: String,
    /// Unix seconds.
    pub next: u64,
}

/// The status of the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// `None` without a certificate.
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

    /// Uses this identity for new handshakes. Existing connections stay.
    pub fn swap(&self, identity: &Identity) {
        let mut held = self.write();
        held.identity = Some(identity.clone());
        held.renewal_failure = None;
    }

    /// The current identity; `None` without a certificate.
    pub fn identity(&self) -> Option<Identity> {
        self.read().identity.clone()
    }

    /// Records a failed attempt to get a certificate.
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

    /// Serves this certificate to an authority that validates `domain` (TLS-ALPN-01).
    pub fn add_tls_alpn_challenge(&self, domain: &str, certificate: Arc<CertifiedKey>) {
        let mut held = self.write();
        held.certificates.insert(domain.to_owned(), certificate);
    }

    /// Serves this key authorization to an authority that requests `token` (HTTP-01).
    pub fn add_http_challenge(&self, token: &str, key_authorization: &str) {
        let mut held = self.write();
        held.tokens
            .insert(token.to_owned(), key_authorization.to_owned());
    }

    /// The key authorization for `token`.
    pub fn key_authorization(&self, token: &str) -> Option<String> {
        self.read().tokens.get(token).cloned()
    }

    /// Ends all challenges.
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
    /// A client that negotiates [`ACME_TLS`] gets the certificate of a challenge or none.
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
