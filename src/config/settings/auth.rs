//! `[auth]`

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::macros::settings;
use crate::public_key::{Kind, PublicKey};
use crate::secret::Secret;

settings! {
    /// Tokens (JWT): their signatures, their issuer and their lifetime.
    pub struct Auth in auth {
        /// The secret that signs tokens, at least 32 bytes; `openssl rand -hex 32` makes a good one.
        /// With the `SECRET_KEY` of an existing backend, the tokens of that backend are valid here.
        /// Unset: generated once and stored in the data directory.
        ///
        /// The generated one is in the file `auth.secret` with mode 0600.
        secret: Option<Secret> = None, Live, example "at least 32 bytes of random characters";

        /// A file with `auth.secret` alone, instead of that key.
        /// (systemd: `LoadCredential=auth.secret:FILE` needs no setting.)
        secret_file: Option<PathBuf> = None, Live, example "/etc/parlor/auth.secret";

        /// Older secrets. Tokens signed with them are still valid; parlor signs with `auth.secret` alone.
        previous_secrets: Vec<Secret> = Vec::new(), Live;

        /// A file with `auth.previous_secrets`, one on each line, instead of that key.
        /// (systemd: `LoadCredential=auth.previous_secrets:FILE` needs no setting.)
        previous_secrets_file: Option<PathBuf> = None, Live,
            example "/etc/parlor/auth.previous_secrets";

        /// The signature algorithm of tokens; tokens with another one are rejected.
        /// With the secret: `"HS256"`, `"HS384"` or `"HS512"`. With a public key from the files below:
        /// `"RS256"`, `"RS384"`, `"RS512"`, `"PS256"`, `"PS384"`, `"PS512"` (RSA), `"ES256"` (EC P-256),
        /// `"ES384"` (EC P-384) or `"EdDSA"` (Ed25519). parlor then signs its own tokens with the secret,
        /// which no other service needs.
        algorithm: Algorithm = Algorithm::HS256, Live;

        /// Public keys of the token issuer in PEM (`-----BEGIN PUBLIC KEY-----`), one or several.
        public_key_file: Option<PathBuf> = None, Live, example "/etc/parlor/issuer.pem";

        /// Public keys of the token issuer as a JWKS, in addition to `auth.public_key_file`.
        ///
        /// parlor ignores keys of other kinds, and rejects secrets (`oct`) and private keys.
        jwks_file: Option<PathBuf> = None, Live, example "/etc/parlor/jwks.json";

        /// The URL of the token issuer's public keys (a JWKS), in addition to those of the files: `jwks_uri` in
        /// the issuer's OpenID configuration. Needs `auth.audience`.
        ///
        /// parlor fetches it every 10 minutes, and when a token names an unknown key (at most once in 5
        /// seconds). If it cannot be fetched, the last keys stay valid for 24 hours. See
        /// [Keys by URL](../build/accounts.md#keys-by-url).
        jwks_url: Option<String> = None, Restart, example "https://id.example.org/keys.json";

        /// Trusted authorities (PEM) for the server of `auth.jwks_url`. Unset: those of the system.
        jwks_ca_file: Option<PathBuf> = None, Restart, example "/etc/parlor/issuer-ca.pem";

        /// The required issuer of tokens (`iss`). Unset: not checked.
        issuer: Option<String> = None, Live, example "https://id.example.org";

        /// The required audience of tokens (`aud`). Unset: not checked, as by `"any"`, which `auth.jwks_url` needs
        /// to be said: many issuers sign tokens for other services with the same keys.
        audience: Option<String> = None, Live, example "parlor";

        /// The tolerated difference between the clock of a token's issuer and that of this machine: tokens are
        /// valid so much earlier (`nbf`) and longer (`exp`). At most `"5m"`. parlor's own tokens have none.
        #[serde(with = "crate::config::duration")]
        leeway: Duration = Duration::ZERO, Live;

        /// The lifetime of tokens that the server issues, such as a guest's. (`parlor token issue` has
        /// `--ttl`.)
        #[serde(with = "crate::config::duration")]
        token_ttl: Duration = Duration::from_secs(12 * 3600), Live;

        /// Whether a valid token with an unknown user (`sub`) creates that user.
        ///
        /// `parlor token issue` then does so, too.
        provision_users: bool = false, Live;

        /// Whether `"role": "admin"` in a token of another issuer makes its bearer an admin here.
        trust_roles: bool = false, Live;

        /// Whether the expiry of a token also closes the WebSocket of an existing (plain) frontend, which has
        /// no way to renew it. Guests are closed in any case.
        enforce_expiry: bool = false, Live;
    }
    derived {
        /// The keys in `auth.public_key_file` and `auth.jwks_file`, in order.
        public_keys: Vec<PublicKey>, Live, as public_keys_key;
    }
}

/// The value of `auth.audience` that accepts tokens for any.
const ANY_AUDIENCE: &str = "any";

impl Auth {
    /// The audience that tokens must have; `None`: any.
    pub fn required_audience(&self) -> Option<&str> {
        let audience = self.audience.as_deref();
        audience.filter(|audience| *audience != ANY_AUDIENCE)
    }

    /// The key that stands for `public_keys` in the report of a reload.
    fn public_keys_key(&self) -> &'static str {
        match self.jwks_file {
            Some(_) => "auth.jwks_file",
            None => "auth.public_key_file",
        }
    }
}

/// Signature algorithms of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// The name in RFC 7518 or RFC 8037.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::HS256 => "HS256",
            Algorithm::HS384 => "HS384",
            Algorithm::HS512 => "HS512",
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::EdDSA => "EdDSA",
        }
    }

    /// The kind of public key of the algorithm; `None` for a shared secret.
    pub fn key_kind(self) -> Option<Kind> {
        match self {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
            Algorithm::ES256 => Some(Kind::P256),
            Algorithm::ES384 => Some(Kind::P384),
            Algorithm::EdDSA => Some(Kind::Ed25519),
            _ => Some(Kind::Rsa),
        }
    }
}
