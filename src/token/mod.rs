//! JSON Web Tokens (RFC 7519, RFC 7515).
//!
//! The algorithm comes from the configuration, never from the token; the time is an argument.
//! Claims are read only after the signature has been verified.

mod claims;
mod device;
mod error;
mod ids;
mod keys;
mod name_slot;
mod provider;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde::Deserialize;

pub use claims::{Claims, Issue, MAX_UNIX_SECONDS};
pub use device::{DeviceId, Devices};
pub use error::TokenError;
pub use ids::{ROOM_ID_RULE, USER_ID_RULE, valid_room_id, valid_user_id};

use crate::config;
use crate::public_key::PublicKey;
use crate::secret::Secret;
use keys::Keyring;
use name_slot::NameSlots;

/// The id of parlor's own key if `auth.algorithm` is one of public keys.
const OWN_KEY_ID: &str = "parlor";

/// Maximum length; longer tokens are rejected unread.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Checks tokens, and signs those that parlor issues itself.
pub struct Tokens {
    /// The keys of `auth.algorithm`.
    pinned: Keyring,
    /// parlor's own key, if it has only the public half of those.
    own: Option<Keyring>,
    signing: EncodingKey,
    devices: Devices,
    name_slots: NameSlots,
    issuer: Option<String>,
    audience: Option<String>,
    /// The tolerated difference to the clocks of other issuers.
    leeway: Duration,
}

/// The public keys that an issuer publishes now.
pub struct PublishedKeys(Keyring);

impl PublishedKeys {
    pub fn new(algorithm: config::Algorithm, keys: &[PublicKey]) -> PublishedKeys {
        provider::install();
        PublishedKeys(Keyring::public(algorithm, keys))
    }
}

#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

impl Tokens {
    /// `secret` signs and checks; `auth.previous_secrets` check. Where `auth.algorithm` is one of
    /// public keys, that is true of parlor's own tokens alone.
    pub fn new(auth: &config::Auth, secret: &Secret) -> Tokens {
        provider::install();
        let secrets = std::iter::once(secret).chain(&auth.previous_secrets);
        let (pinned, own) = match auth.algorithm.key_kind() {
            None => (Keyring::shared(auth.algorithm, secrets), None),
            Some(_) => (
                Keyring::public(auth.algorithm, &auth.public_keys),
                Some(Keyring::own(config::Algorithm::HS256, OWN_KEY_ID, secrets)),
            ),
        };
        Tokens {
            pinned,
            own,
            signing: EncodingKey::from_secret(secret.expose().as_bytes()),
            devices: Devices::new(std::iter::once(secret).chain(&auth.previous_secrets)),
            name_slots: NameSlots::new(secret),
            issuer: auth.issuer.clone(),
            audience: auth.required_audience().map(str::to_owned),
            leeway: auth.leeway,
        }
    }

    /// Verifies a token at `unix` by the configured keys and returns its claims.
    pub fn check(&self, token: &str, unix: u64) -> Result<Claims, TokenError> {
        self.check_with(None, token, unix)
    }

    /// Verifies a token at `unix` by the configured keys, and by those that its issuer publishes.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] if later keys of the issuer may verify the token.
    pub fn check_with(
        &self,
        published: Option<&PublishedKeys>,
        token: &str,
        unix: u64,
    ) -> Result<Claims, TokenError> {
        let (payload, own) = self.verified_payload(token, published)?;
        let mut claims: claims::RawClaims = serde_json::from_slice(&decode_base64(payload)?)
            .map_err(|error| {
                if error.is_data() {
                    TokenError::BadClaims
                } else {
                    TokenError::Malformed
                }
            })?;
        if !own {
            claims.extend(self.leeway.as_secs_f64());
        }
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

    /// Returns the issuer of device tokens.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Returns a number that stands for a user name where other programs can read it. Some names share one.
    pub fn name_slot(&self, name: &str) -> u32 {
        self.name_slots.of(name)
    }

    /// Signs `claims`; a configured issuer and audience are filled in where they are missing.
    pub fn issue(&self, claims: &Claims) -> String {
        let mut claims = claims.clone();
        claims.iss = claims.iss.or_else(|| self.issuer.clone());
        claims.aud = claims.aud.or_else(|| self.audience.clone());
        let keys = self.own.as_ref().unwrap_or(&self.pinned);
        let mut header = Header::new(keys.algorithm);
        header.kid = keys.first_id();
        // Signing fails only where key and algorithm differ in family, and both are HMAC here.
        jsonwebtoken::encode(&header, &claims, &self.signing).unwrap_or_default()
    }

    /// Verifies the signature; returns the payload, and whether the token names a key of parlor.
    fn verified_payload<'a>(
        &self,
        token: &'a str,
        published: Option<&PublishedKeys>,
    ) -> Result<(&'a str, bool), TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        // RFC 7516 §9: a JWE has five parts.
        if token.bytes().filter(|byte| *byte == b'.').count() == 4 {
            return Err(TokenError::Encrypted);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: TokenHeader = decode_json(header)?;
        let kid = header.kid.as_deref();
        let keys = self
            .keys_for(&header.alg, kid)
            .ok_or(TokenError::WrongAlgorithm)?;
        if header.crit.is_some() {
            return Err(TokenError::UnknownExtension);
        }
        if keys.verifies(kid, signed, signature) {
            return Ok((payload, keys.is_own && keys.contains(kid)));
        }
        let Some(PublishedKeys(published)) = published.filter(|_| !keys.is_own) else {
            return Err(TokenError::BadSignature);
        };
        if published.verifies(kid, signed, signature) {
            Ok((payload, false))
        } else if published.contains(kid) || keys.contains(kid) {
            Err(TokenError::BadSignature)
        } else {
            Err(TokenError::UnknownKey)
        }
    }

    /// Returns parlor's own keys for a token that names them, or else the configured ones. The token never
    /// chooses the algorithm: each keyring has one.
    fn keys_for(&self, algorithm: &str, kid: Option<&str>) -> Option<&Keyring> {
        let own = self.own.as_ref().filter(|own| own.contains(kid));
        [own, Some(&self.pinned)]
            .into_iter()
            .flatten()
            .find(|keys| keys.name == algorithm)
    }
}

fn decode_json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    serde_json::from_slice(&decode_base64(part)?).map_err(|_| TokenError::Malformed)
}

fn decode_base64(part: &str) -> Result<Vec<u8>, TokenError> {
    let decoded = URL_SAFE_NO_PAD.decode(part);
    decoded.map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests;
