//! The integrity attributes and their keys.

use ring::hmac;
use serde::{Deserialize, Serialize};

/// An integrity attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY (RFC 8489 section 14.5).
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256 (section 14.6).
    Sha256,
}

/// A key for one of the integrity attributes. The key schedule is computed once.
#[derive(Clone)]
pub struct IntegrityKey(pub(super) hmac::Key);

impl IntegrityKey {
    /// Creates a key for MESSAGE-INTEGRITY from a password or a long-term key.
    pub fn new(key: &[u8]) -> IntegrityKey {
        IntegrityKey(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key))
    }

    /// Creates a key for MESSAGE-INTEGRITY-SHA256.
    pub fn sha256(key: &[u8]) -> IntegrityKey {
        IntegrityKey(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the attribute of the key.
    pub fn integrity(&self) -> Integrity {
        if self.0.algorithm() == hmac::HMAC_SHA256 {
            Integrity::Sha256
        } else {
            Integrity::Sha1
        }
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
