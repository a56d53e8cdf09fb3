//! SubjectPublicKeyInfo in DER (RFC 5280 §4.1.2.7).

use super::key::{KeyError, Material, error};
use crate::der::{BIT_STRING, INTEGER, OBJECT_IDENTIFIER, SEQUENCE, element};

/// rsaEncryption, RFC 8017 appendix C.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-ecPublicKey, RFC 5480 §2.1.1, and two of its curves with their tag and length.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// id-Ed25519, RFC 8410 §3.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Parses a SubjectPublicKeyInfo.
pub(super) fn subject_public_key(der: &[u8]) -> Result<Material, KeyError> {
    let (algorithm, parameters, key) = subject(der).ok_or_else(malformed)?;
    match (algorithm, parameters) {
        (RSA, _) => rsa_public_key(key),
        (EC, P256) => point(key, 32).map(Material::P256),
        (EC, P384) => point(key, 48).map(Material::P384),
        (ED25519, _) if key.len() == 32 => Ok(Material::Ed25519(key.to_vec())),
        _ => Err(error(
            "holds a key of a kind that no algorithm here takes: \
             use RSA, EC on P-256 or P-384, or Ed25519",
        )),
    }
}

/// Parses an RSAPublicKey, RFC 8017 appendix A.1.1.
pub(super) fn rsa_public_key(der: &[u8]) -> Result<Material, KeyError> {
    let numbers = || {
        let (sequence, _) = element(der, SEQUENCE)?;
        let (modulus, rest) = element(sequence, INTEGER)?;
        let (exponent, _) = element(rest, INTEGER)?;
        Some((modulus, exponent))
    };
    let (modulus, exponent) = numbers().ok_or_else(malformed)?;
    Material::rsa(modulus, exponent)
}

/// Returns the algorithm identifier, its parameters and the bits of the key.
fn subject(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (info, _) = element(der, SEQUENCE)?;
    let (algorithm, rest) = element(info, SEQUENCE)?;
    let (identifier, parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    let (unused, key) = bits.split_first()?;
    (*unused == 0).then_some((identifier, parameters, key))
}

/// Checks an uncompressed point with coordinates of `size` bytes.
fn point(key: &[u8], size: usize) -> Result<Vec<u8>, KeyError> {
    if key.len() == 1 + 2 * size && key[0] == 4 {
        Ok(key.to_vec())
    } else {
        Err(error(
            "holds an EC key that is not written out in full (uncompressed)",
        ))
    }
}

fn malformed() -> KeyError {
    error("holds something else than a public key between its PEM lines")
}
