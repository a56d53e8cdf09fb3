//! Public keys of token issuers, from PEM (RFC 7468, RFC 5280) or a JWKS (RFC 7517).
//!
//! The readers reject private keys, shared secrets (`oct`) and short RSA keys, and skip keys for
//! encryption: no token is verified with one.

mod der;
mod jwks;
mod key;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::text_file;
use key::error;

pub use key::{KeyError, Kind, Material, PublicKey};

/// Maximum size of a file of keys.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Maximum number of keys: a token may be tried with each.
const MAX_KEYS: usize = 64;

/// Reads the keys of a PEM file, in order; all must be of this kind.
///
/// # Errors
/// The file can't be read, is not PEM, or contains anything but such keys.
pub fn read_pem(path: &Path, kind: Kind) -> Result<Vec<PublicKey>, KeyError> {
    let keys = parse_pem(&read_text(path)?)?;
    match keys.iter().find(|key| key.kind() != kind) {
        None => Ok(keys),
        Some(other) => Err(error(format!(
            "holds {}, not {}",
            other.kind().name(),
            kind.name()
        ))),
    }
}

/// Reads the keys of a JWKS file that are of this kind and not for another algorithm, in order.
///
/// # Errors
/// The file can't be read, is not a JWKS, contains a secret, or contains no such key.
pub fn read_jwks(path: &Path, kind: Kind, algorithm: &str) -> Result<Vec<PublicKey>, KeyError> {
    parse_jwks(&read_text(path)?, kind, algorithm)
}

/// Parses the keys of a JWKS that are of this kind and not for another algorithm, in order.
///
/// # Errors
/// The text is not a JWKS, contains a secret, or contains no such key.
pub fn parse_jwks(text: &str, kind: Kind, algorithm: &str) -> Result<Vec<PublicKey>, KeyError> {
    let keys = jwks::parse(text, kind, algorithm)?;
    match keys.len() {
        0 => Err(error(format!(
            "holds no key for {algorithm}, which takes {}",
            kind.name()
        ))),
        1..=MAX_KEYS => Ok(keys),
        many => Err(error(format!("holds {many} keys, more than {MAX_KEYS}"))),
    }
}

/// Whether `text` is or contains a public key, which is not a secret.
pub fn is_public(text: &str) -> bool {
    let pem = ["PUBLIC KEY-----", "CERTIFICATE-----"];
    let jwk = || serde_json::from_str::<serde_json::Value>(text).ok();
    pem.iter().any(|end| text.contains(end))
        || jwk().is_some_and(|value| value.get("kty").or(value.get("keys")).is_some())
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    text_file::read(path, MAX_FILE_BYTES).map_err(|why| error(why.to_string()))
}

/// RFC 7468: blocks between `-----BEGIN X-----` and `-----END X-----`; text around them is a comment.
fn parse_pem(text: &str) -> Result<Vec<PublicKey>, KeyError> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let (label, begun) = begun.split_once("-----").ok_or_else(not_pem)?;
        let end = format!("-----END {label}-----");
        let (body, after) = begun.split_once(end.as_str()).ok_or_else(not_pem)?;
        let body: String = body.split_ascii_whitespace().collect();
        let key = match label {
            "PUBLIC KEY" => der::subject_public_key(&decode_base64(&body)?),
            "RSA PUBLIC KEY" => der::rsa_public_key(&decode_base64(&body)?),
            label => return Err(wrong_label(label)),
        };
        keys.push(PublicKey {
            id: None,
            material: key?,
        });
        rest = after;
    }
    match keys.len() {
        0 => Err(not_pem()),
        1..=MAX_KEYS => Ok(keys),
        many => Err(error(format!("holds {many} keys, more than {MAX_KEYS}"))),
    }
}

fn decode_base64(body: &str) -> Result<Vec<u8>, KeyError> {
    STANDARD.decode(body).map_err(|_| not_pem())
}

fn not_pem() -> KeyError {
    error("is not a public key in PEM (`-----BEGIN PUBLIC KEY-----`)")
}

fn wrong_label(label: &str) -> KeyError {
    if label.ends_with("PRIVATE KEY") {
        return error(
            "holds a private key, which belongs to the issuer: \
             `openssl pkey -pubout` makes the public one of it",
        );
    }
    match label {
        "CERTIFICATE" => error(
            "holds a certificate, not a public key: `openssl x509 -pubkey -noout` takes it out",
        ),
        _ => not_pem(),
    }
}

#[cfg(test)]
mod tests;
