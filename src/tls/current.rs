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
pub struct Current(RwLock<Held>);

#[derive(Default)]
struct Held {
    identity: Option<Identity>,
    trouble: Option<Trouble>,
    /// TLS-ALPN-01: certificates by the domain in question.
    certificates: HashMap<String, Arc<CertifiedKey>>,
    /// HTTP-01: key authorizations by their token.
    tokens: HashMap<String, String>,
}

/// Why there is no new certificate, and when it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A sentence without its full stop.
    pub reason: String,
    /// Unix seconds.
    pub next: u64,
}

/// How the certificate is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `None` where there is none yet.
    pub validity: Option<Validity>,
    pub fingerprint: Option<String>,
    pub trouble: Option<Trouble>,
}

impl Current {
    pub fn new(identity: &Identity) -> Arc<Current> {
        let current = Current::default();
        current.swap(identity);
        Arc::new(current)
    }

    /// From now on handshakes are answered with this one; what was negotiated before stays.
    pub fn swap(&self, identity: &Identity) {
        let mut held = self.write();
        held.identity = Some(identity.clone());
        held.trouble = None;
    }

    /// What handshakes are answered with; nothing where there is no certificate yet.
    pub fn identity(&self) -> Option<Identity> {
        self.read().identity.clone()
    }

    /// Tells of an attempt at another certificate that failed.
    pub fn trouble(&self, trouble: Trouble) {
        self.write().trouble = Some(trouble);
    }

    pub fn standing(&self) -> Standing {
        let held = self.read();
        let identity = held.identity.as_ref();
        Standing {
            validity: identity.map(Identity::validity),
            fingerprint: identity.map(Identity::fingerprint),
            trouble: held.trouble.clone(),
        }
    }

    /// From now on an authority that asks for `domain` (TLS-ALPN-01) gets this.
    pub fn challenge_by_tls(&self, domain: &str, certificate: Arc<CertifiedKey>) {
        let mut held = self.write();
        held.certificates.insert(domain.to_owned(), certificate);
    }

    /// From now on an authority that asks for `token` (HTTP-01) gets this.
    pub fn challenge_by_http(&self, token: &str, key_authorization: &str) {
        let mut held = self.write();
        held.tokens
            .insert(token.to_owned(), key_authorization.to_owned());
    }

    /// What an authority is told that asks for `token`.
    pub fn key_authorization(&self, token: &str) -> Option<String> {
        self.read().tokens.get(token).cloned()
    }

    /// From now on no challenge is answered any more.
    pub fn end_challenges(&self) {
        let mut held = self.write();
        held.certificates.clear();
        held.tokens.clear();
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
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
