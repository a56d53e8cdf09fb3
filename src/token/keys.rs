//! The keys that verify tokens, and the choice of keys for a token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::hmac;

use crate::config;
use crate::public_key::{Material, PublicKey};
use crate::secret::Secret;

/// Keys of one algorithm, in the order in which they are tried.
pub(super) struct Keyring {
    pub algorithm: Algorithm,
    /// The exact name in RFC 7518.
    pub name: &'static str,
    /// Whether parlor signs with these keys, so that a token that names one is its own.
    pub is_own: bool,
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
    /// Whether this key is tried for a token with an unknown `kid`.
    accepts_unknown_kid: bool,
}

impl Keyring {
    /// Creates a keyring of secrets that other issuers share. Each has a fingerprint as its id, which needs no
    /// setting and survives a restart. Other issuers may use any `kid`.
    pub(super) fn shared<'a>(
        algorithm: config::Algorithm,
        secrets: impl Iterator<Item = &'a Secret>,
    ) -> Keyring {
        Keyring::new(
            algorithm,
            secrets.map(|secret| Key {
                id: Some(fingerprint(secret)),
                accepts_unknown_kid: true,
                key: DecodingKey::from_secret(secret.expose().as_bytes()),
            }),
        )
    }

    /// Creates a keyring of parlor's own secrets, all with one id.
    pub(super) fn own<'a>(
        algorithm: config::Algorithm,
        id: &str,
        secrets: impl Iterator<Item = &'a Secret>,
    ) -> Keyring {
        Keyring::new(
            algorithm,
            secrets.map(|secret| Key {
                id: Some(id.to_owned()),
                accepts_unknown_kid: false,
                key: DecodingKey::from_secret(secret.expose().as_bytes()),
            }),
        )
    }

    /// Creates a keyring of public keys of another issuer. A key without an id matches any `kid`.
    pub(super) fn public(algorithm: config::Algorithm, keys: &[PublicKey]) -> Keyring {
        Keyring::new(
            algorithm,
            keys.iter().map(|key| Key {
                id: key.id.clone(),
                accepts_unknown_kid: key.id.is_none(),
                key: decoding_key(&key.material),
            }),
        )
    }

    fn new(algorithm: config::Algorithm, keys: impl Iterator<Item = Key>) -> Keyring {
        Keyring {
            algorithm: jwt_algorithm(algorithm),
            name: algorithm.name(),
            is_own: algorithm.key_kind().is_none(),
            keys: keys.collect(),
        }
    }

    /// Returns the id of the first key.
    pub(super) fn first_id(&self) -> Option<String> {
        self.keys.first()?.id.clone()
    }

    /// Whether `kid` is the id of one of the keys.
    pub(super) fn contains(&self, kid: Option<&str>) -> bool {
        kid.is_some() && self.keys.iter().any(|key| key.id.as_deref() == kid)
    }

    /// Whether one of the keys that match `kid` verifies the signature.
    pub(super) fn verifies(&self, kid: Option<&str>, signed: &str, signature: &str) -> bool {
        let known = self.contains(kid);
        let meant = |key: &&Key| match kid {
            None => true,
            Some(_) if known => key.id.as_deref() == kid,
            Some(_) => key.accepts_unknown_kid,
        };
        self.keys.iter().filter(meant).any(|key| {
            let signed = signed.as_bytes();
            jsonwebtoken::crypto::verify(signature, signed, &key.key, self.algorithm)
                .unwrap_or(false)
        })
    }
}

/// Returns six bytes of an HMAC under the secret: they identify it and reveal nothing about it.
fn fingerprint(secret: &Secret) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, b"parlor key id");
    URL_SAFE_NO_PAD.encode(&tag.as_ref()[..6])
}

fn decoding_key(material: &Material) -> DecodingKey {
    match material {
        Material::Rsa { modulus, exponent } => {
            DecodingKey::from_rsa_raw_components(modulus, exponent)
        }
        Material::P256(point) | Material::P384(point) => DecodingKey::from_ec_der(point),
        Material::Ed25519(key) => DecodingKey::from_ed_der(key),
    }
}

fn jwt_algorithm(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::HS256 => Algorithm::HS256,
        config::Algorithm::HS384 => Algorithm::HS384,
        config::Algorithm::HS512 => Algorithm::HS512,
        config::Algorithm::RS256 => Algorithm::RS256,
        config::Algorithm::RS384 => Algorithm::RS384,
        config::Algorithm::RS512 => Algorithm::RS512,
        config::Algorithm::PS256 => Algorithm::PS256,
        config::Algorithm::PS384 => Algorithm::PS384,
        config::Algorithm::PS512 => Algorithm::PS512,
        config::Algorithm::ES256 => Algorithm::ES256,
        config::Algorithm::ES384 => Algorithm::ES384,
        config::Algorithm::EdDSA => Algorithm::EdDSA,
    }
}
