//! JSON Web Tokens: who may come in (RFC 7519, RFC 7515).
//!
//! The algorithm comes from the configuration, never from the token; the time is an argument, and
//! there is no leeway. What a token says is believed only after its signature has been checked.

mod claims;
mod provider;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::hmac;
use serde::Deserialize;

pub use claims::{Claims, LAST_SECOND};

use crate::config;
use crate::secret::Secret;

/// Longer tokens are refused unread.
const MAX_TOKEN: usize = 8 * 1024;

/// Why a token is refused: one sentence for the admin who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not a JWT")]
    Malformed,
    #[error("the token is signed with another algorithm than `auth.algorithm`")]
    WrongAlgorithm,
    #[error("the token's signature fits none of the configured secrets")]
    BadSignature,
    #[error("the token demands extensions (`crit`) that parlor does not know")]
    UnknownExtension,
    #[error("the token has no expiry (`exp`)")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet (`nbf`)")]
    NotYetValid,
    #[error("the token's issuer (`iss`) is not `auth.issuer`")]
    WrongIssuer,
    #[error("the token's audience (`aud`) does not include `auth.audience`")]
    WrongAudience,
    #[error("the token's subject (`sub`) is not a user id: 1-128 of A-Z a-z 0-9 . _ ~ -")]
    BadSubject,
}

/// Checks tokens, and signs those that parlor issues itself.
pub struct Tokens {
    algorithm: Algorithm,
    /// As RFC 7518 spells it, and no other way.
    algorithm_name: &'static str,
    signing: EncodingKey,
    /// The signing key first, then older ones, newest first.
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
}

struct Key {
    id: String,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

/// Whether `id` can be the id of a user or a room: 1-128 characters of `[A-Za-z0-9._~-]`.
pub fn valid_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}

impl Tokens {
    /// `secret` signs and checks; `auth.previous_secrets` check.
    pub fn new(auth: &config::Auth, secret: &Secret) -> Tokens {
        provider::install();
        let secrets = std::iter::once(secret).chain(&auth.previous_secrets);
        let (algorithm, algorithm_name) = match auth.algorithm {
            config::Algorithm::HS256 => (Algorithm::HS256, "HS256"),
            config::Algorithm::HS384 => (Algorithm::HS384, "HS384"),
            config::Algorithm::HS512 => (Algorithm::HS512, "HS512"),
        };
        Tokens {
            algorithm,
            algorithm_name,
            signing: EncodingKey::from_secret(secret.expose().as_bytes()),
            keys: secrets.map(Key::from_secret).collect(),
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
        }
    }

    /// The claims of `token`, if it may be believed at `unix`.
    pub fn check(&self, token: &str, unix: u64) -> Result<Claims, TokenError> {
        let (payload, own) = self.verified_payload(token)?;
        let claims: claims::RawClaims = from_part(payload)?;
        claims.check_time(unix)?;
        if self
            .issuer
            .as_ref()
            .is_some_and(|own| !claims.is_issued_by(own))
        {
            return Err(TokenError::WrongIssuer);
        }
        if self
            .audience
            .as_ref()
            .is_some_and(|own| !claims.is_for(own))
        {
            return Err(TokenError::WrongAudience);
        }
        claims.into_claims(own)
    }

    /// Signs `claims`; a configured issuer and audience are filled in where they are missing.
    pub fn issue(&self, claims: &Claims) -> String {
        let mut claims = claims.clone();
        claims.iss = claims.iss.or_else(|| self.issuer.clone());
        claims.aud = claims.aud.or_else(|| self.audience.clone());
        let mut header = Header::new(self.algorithm);
        header.kid = self.keys.first().map(|key| key.id.clone());
        // Signing fails only where key and algorithm differ in family, and both are HMAC here.
        jsonwebtoken::encode(&header, &claims, &self.signing).unwrap_or_default()
    }

    /// The middle part of `token`, once its signature has been found good, and whether it names the
    /// key that signed it as only parlor does.
    fn verified_payload<'a>(&self, token: &'a str) -> Result<(&'a str, bool), TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: TokenHeader = from_part(header)?;
        if header.alg != self.algorithm_name {
            return Err(TokenError::WrongAlgorithm);
        }
        if header.crit.is_some() {
            return Err(TokenError::UnknownExtension);
        }
        let verifies = |key: &Key| {
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.key, self.algorithm)
                .unwrap_or(false)
        };
        let kid = header.kid.as_deref();
        match self.candidates(kid).find(|key| verifies(key)) {
            Some(key) => Ok((payload, Some(key.id.as_str()) == kid)),
            None => Err(TokenError::BadSignature),
        }
    }

    /// The keys to try: the one that `kid` names, else all, in order. Another issuer's `kid` names
    /// none of ours, and its secret may still be here.
    fn candidates<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let named = kid.and_then(|kid| self.keys.iter().find(|key| key.id == kid));
        let all = if named.is_some() { &[] } else { &self.keys[..] };
        named.into_iter().chain(all)
    }
}

impl Key {
    /// The id is a fingerprint, so that it needs no setting and survives a restart.
    fn from_secret(secret: &Secret) -> Key {
        let bytes = secret.expose().as_bytes();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), b"parlor key id");
        Key {
            id: URL_SAFE_NO_PAD.encode(&tag.as_ref()[..6]),
            key: DecodingKey::from_secret(bytes),
        }
    }
}

fn from_part<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let json = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests;
