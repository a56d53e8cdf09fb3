//! A JSON Web Key Set (RFC 7517, RFC 7518 §6, RFC 8037): it may also contain keys of other kinds.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::key::{KeyError, Kind, Material, PublicKey, error};

#[derive(Deserialize)]
struct Set {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Present in private keys only.
    d: Option<Value>,
}

/// Parses the keys that may verify signatures of `algorithm`.
pub(super) fn parse(text: &str, kind: Kind, algorithm: &str) -> Result<Vec<PublicKey>, KeyError> {
    let set: Set = serde_json::from_str(text).map_err(|_| {
        error("is not a JWKS: a JSON object with `keys`, a list of objects with `kty`")
    })?;
    let mut keys = Vec::new();
    for (index, key) in set.keys.into_iter().enumerate() {
        let label = key.label(index);
        key.reject_secrets(&label)?;
        if key.kind() == Some(kind) && key.is_meant_for(algorithm) {
            let material = key.material(kind);
            let material = material
                .ok_or_else(|| error(format!("holds {label}, which is not what its `kty` says")))?;
            keys.push(PublicKey {
                id: key.kid,
                material: material?,
            });
        }
    }
    Ok(keys)
}

impl Key {
    /// Returns the name of the key for error messages.
    fn label(&self, index: usize) -> String {
        match &self.kid {
            Some(kid) => format!("the key {kid:?}"),
            None => format!("key number {}", index + 1),
        }
    }

    fn reject_secrets(&self, label: &str) -> Result<(), KeyError> {
        if self.kty == "oct" {
            return Err(error(format!(
                "holds {label}, which is a shared secret (`oct`): a JWKS is for public keys, \
                 and a secret belongs in auth.secret"
            )));
        }
        match self.d {
            Some(_) => Err(error(format!(
                "holds {label}, which is private (`d`): it belongs to the issuer"
            ))),
            None => Ok(()),
        }
    }

    fn kind(&self) -> Option<Kind> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Some(Kind::Rsa),
            ("EC", Some("P-256")) => Some(Kind::P256),
            ("EC", Some("P-384")) => Some(Kind::P384),
            ("OKP", Some("Ed25519")) => Some(Kind::Ed25519),
            _ => None,
        }
    }

    /// `alg` only rules a key out; it never chooses the algorithm.
    fn is_meant_for(&self, algorithm: &str) -> bool {
        let signatures = self.purpose.as_deref().is_none_or(|use_| use_ == "sig");
        signatures && self.alg.as_deref().is_none_or(|alg| alg == algorithm)
    }

    /// Returns `None` if a number is missing or does not fit the kind.
    fn material(&self, kind: Kind) -> Option<Result<Material, KeyError>> {
        let number = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        // RFC 7518 §6.2.1.2: coordinates have their full size.
        let coordinate = |text, size| number(text).filter(|bytes| bytes.len() == size);
        let point = |size| {
            Some(
                [
                    &[4][..],
                    &coordinate(&self.x, size)?,
                    &coordinate(&self.y, size)?,
                ]
                .concat(),
            )
        };
        Some(match kind {
            Kind::Rsa => Material::rsa(&number(&self.n)?, &number(&self.e)?),
            Kind::P256 => Ok(Material::P256(point(32)?)),
            Kind::P384 => Ok(Material::P384(point(48)?)),
            Kind::Ed25519 => Ok(Material::Ed25519(coordinate(&self.x, 32)?)),
        })
    }
}
