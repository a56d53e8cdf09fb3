//! Minting and checking credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use ring::{digest, hmac};

use crate::secret::Secret;

/// The shared secrets of TURN credentials.
#[derive(Clone)]
pub struct Credentials {
    /// Newest first. The newest secret mints, all secrets check.
    secrets: Vec<hmac::Key>,
}

/// A minted credential, which a client sends to its TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    pub username: String,
    pub credential: String,
}

impl Credentials {
    /// Creates credentials with the newest secret and the previous ones.
    pub fn new(newest: &Secret, previous: &[Secret]) -> Credentials {
        let secrets = std::iter::once(newest).chain(previous);
        let key =
            |s: &Secret| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, s.expose().as_bytes());
        Credentials {
            secrets: secrets.map(key).collect(),
        }
    }

    /// Mints a credential for `user` that may allocate until `expires` (Unix seconds).
    pub fn mint(&self, user: &str, room: Option<&str>, expires: u64) -> Minted {
        self.minted(match room {
            Some(room) => format!("{expires}:{user}/{room}"),
            None => format!("{expires}:{user}"),
        })
    }

    /// Mints a credential for a member of `room`. It is rejected when a membership of this generation has
    /// ended; that of the first membership is 0, and left out.
    pub fn mint_for_member(&self, user: &str, room: &str, generation: u64, expires: u64) -> Minted {
        match generation {
            0 => self.mint(user, Some(room), expires),
            _ => self.minted(format!("{expires}:{user}/{room}/{generation}")),
        }
    }

    fn minted(&self, username: String) -> Minted {
        let credential = password(&self.secrets[0], &username);
        Minted {
            username,
            credential,
        }
    }

    /// Returns the valid passwords of `username`, one for each secret. The caller checks the
    /// message's integrity with each.
    pub fn passwords<'a>(&'a self, username: &'a str) -> impl Iterator<Item = String> + 'a {
        let secrets = self.secrets.iter();
        secrets.map(move |secret| password(secret, username))
    }
}

/// Returns `MD5(username ":" realm ":" password)` (RFC 8489 section 9.2.2).
pub fn long_term_key(username: &str, realm: &str, password: &str) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in [username, ":", realm, ":", password] {
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// Returns `SHA-256(username ":" realm ":" password)` (RFC 8489 section 18.5.1.2).
pub fn long_term_key_sha256(username: &str, realm: &str, password: &str) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [username, ":", realm, ":", password] {
        hash.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(hash.finish().as_ref());
    key
}

fn password(secret: &hmac::Key, username: &str) -> String {
    STANDARD.encode(hmac::sign(secret, username.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials::new(&Secret::new("north"), &[Secret::new("old")])
    }

    #[test]
    fn a_credential_equals_the_one_coturn_mints_for_the_same_secret() {
        // echo -n 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        let minted = credentials().mint("alice", None, 1_700_000_000);
        assert_eq!(minted.username, "1700000000:alice");
        assert_eq!(minted.credential, "Cd/49soE35ICqcJF/bCTn8Z4OyE=");
    }

    #[test]
    fn the_newest_secret_mints_and_all_listed_secrets_check() {
        let old = Credentials::new(&Secret::new("old"), &[]).mint("alice", None, 9);
        let credentials = credentials();
        let mut passwords = credentials.passwords(&old.username);
        assert!(passwords.any(|candidate| candidate == old.credential));
    }

    #[test]
    fn the_long_term_key_matches_rfc_8489() {
        // RFC 8489 section 9.2.2: user "user", realm "realm", password "pass".
        let key = long_term_key("user", "realm", "pass");
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "8493fbc53ba582fb4c044c456bdc40eb");
        // echo -n user:realm:pass | sha256sum
        let key = long_term_key_sha256("user", "realm", "pass");
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "07e934117abd40836e7c6329b54731b2b2d2a5f9a71f544922d75e0730d8251b"
        );
    }
}
