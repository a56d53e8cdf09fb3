//! Encrypts what the database stores, so that a dump of it shows no private key.
//!
//! AES-256-GCM with a key that HKDF-SHA256 derives from `auth.secret`.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::storage::AcmeValue;

use super::settings::AcmeSettings;

/// Bytes of a scope, before it is text.
const SCOPE_BYTES: usize = 16;

/// The keys of the stored values.
pub(super) struct Sealer {
    key: LessSafeKey,
    /// Makes scopes, which differ for each secret: a process never meets values that it cannot read.
    scope_key: hmac::Key,
}

impl Sealer {
    /// # Errors
    /// None in practice: the lengths of the keys are those of the algorithms.
    pub(super) fn new(secret: &Secret) -> Result<Sealer, Unspecified> {
        let salt = Salt::new(HKDF_SHA256, b"parlor acme");
        let derived = salt.extract(secret.expose().as_bytes());
        let key = UnboundKey::from(derived.expand(&[b"key"], &AES_256_GCM)?);
        Ok(Sealer {
            key: LessSafeKey::new(key),
            scope_key: derived.expand(&[b"scope"], hmac::HMAC_SHA256)?.into(),
        })
    }

    /// Identifies the account at an authority, or its certificate for these domains. Processes with other domains have
    /// another certificate, so that they do not replace each other's.
    pub(super) fn scope(&self, kind: AcmeValue, settings: &AcmeSettings) -> String {
        match kind {
            AcmeValue::Account => self.tag(&settings.directory),
            AcmeValue::Certificate => {
                let mut domains = settings.domains.clone();
                domains.sort();
                domains.dedup();
                self.tag(&format!("{} {}", settings.directory, domains.join(" ")))
            }
        }
    }

    /// Encrypts a value of this scope.
    pub(super) fn seal(&self, scope: &str, value: &Secret) -> Result<Vec<u8>, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce)?;
        let plain = value.expose().as_bytes();
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(scope.as_bytes()),
            &mut sealed[NONCE_LEN..],
        )?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Decrypts a value of this scope; `None` if it was made with another key or for another scope, or was changed.
    pub(super) fn open(&self, scope: &str, sealed: &[u8]) -> Option<Secret> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(scope.as_bytes());
        let plain = self.key.open_in_place(nonce, aad, &mut buffer).ok()?;
        Some(Secret::new(std::str::from_utf8(plain).ok()?))
    }

    fn tag(&self, text: &str) -> String {
        let tag = hmac::sign(&self.scope_key, text.as_bytes());
        let bytes = tag.as_ref().iter().take(SCOPE_BYTES);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_with_its_own_key_and_scope_alone() {
        let sealer = Sealer::new(&Secret::new("secret")).unwrap();
        let other = Sealer::new(&Secret::new("other")).unwrap();
        let value = Secret::new("-----BEGIN PRIVATE KEY-----");
        let sealed = sealer.seal("a", &value).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"PRIVATE"));
        assert_ne!(sealer.seal("a", &value).unwrap(), sealed);
        assert_eq!(sealer.open("a", &sealed), Some(value));
        assert_eq!(sealer.open("b", &sealed), None);
        assert_eq!(other.open("a", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open("a", &changed), None, "{at}");
            assert_eq!(sealer.open("a", &sealed[..at]), None, "{at}");
        }
    }

    #[test]
    fn a_scope_differs_for_each_secret_authority_and_set_of_domains() {
        let sealer = Sealer::new(&Secret::new("secret")).unwrap();
        let settings = |directory: &str, domains: &[&str]| AcmeSettings {
            domains: domains.iter().map(|name| (*name).to_owned()).collect(),
            directory: directory.to_owned(),
            contact: None,
            ca_file: None,
        };
        let scope = |sealer: &Sealer, settings| sealer.scope(AcmeValue::Certificate, &settings);
        let first = scope(&sealer, settings("d", &["a", "b"]));
        assert_eq!(scope(&sealer, settings("d", &["b", "a"])), first);
        for other in [settings("d", &["a"]), settings("e", &["a", "b"])] {
            assert_ne!(scope(&sealer, other), first);
        }
        let other = Sealer::new(&Secret::new("other")).unwrap();
        assert_ne!(scope(&other, settings("d", &["a", "b"])), first);
        let account = sealer.scope(AcmeValue::Account, &settings("d", &["a"]));
        let same = sealer.scope(AcmeValue::Account, &settings("d", &["b"]));
        assert_eq!(account, same);
    }
}
