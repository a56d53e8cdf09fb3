//! The algorithms of the long-term credential mechanism, in requests and responses (RFC 8489
//! sections
//! 9.2.4 and 18.5).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::credential::{long_term_key, long_term_key_sha256};
use crate::stun::{Integrity, IntegrityKey, Message, Writer};

use super::ErrorReason;
use super::nonce::offers_algorithms;

/// PASSWORD-ALGORITHMS of every challenge: SHA-256, then MD5, both without parameters.
pub(super) const OFFERED: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// The password algorithm, which derives a key from a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Hash {
    Md5,
    Sha256,
}

/// The password algorithm, and the integrity attributes of requests and responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scheme {
    hash: Hash,
    requests: Integrity,
    #[serde(rename = "answers")]
    responses: Integrity,
}

/// The key of a client, which checks its requests and signs its responses.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub scheme: Scheme,
    long_term: LongTerm,
    responses: IntegrityKey,
    /// The key of requests, if their integrity attribute differs from that of responses.
    requests: Option<Box<IntegrityKey>>,
}

/// The long-term key, from which the integrity keys are made. Snapshots contain it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LongTerm {
    Md5([u8; 16]),
    Sha256([u8; 32]),
}

impl fmt::Debug for LongTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl LongTerm {
    fn bytes(&self) -> &[u8] {
        match self {
            LongTerm::Md5(bytes) => bytes,
            LongTerm::Sha256(bytes) => bytes,
        }
    }
}

impl Scheme {
    /// Returns the scheme of a request with the integrity attribute `requests`, from its nonce, its
    /// PASSWORD-ALGORITHMS (`list`) and PASSWORD-ALGORITHM (`chosen`).
    ///
    /// # Errors
    ///
    /// The attributes differ from the offer in a nonce with the feature bit, or name an unknown
    /// algorithm.
    pub(super) fn of(
        nonce: &[u8],
        list: Option<&[u8]>,
        chosen: Option<&[u8]>,
        requests: Integrity,
    ) -> Result<Scheme, ErrorReason> {
        if list.is_none() && chosen.is_none() {
            return Ok(Scheme {
                hash: Hash::Md5,
                requests,
                responses: Integrity::Sha1,
            });
        }
        let is_complete = list == Some(&OFFERED) && chosen.is_some();
        if !is_complete && offers_algorithms(nonce) {
            return Err(ErrorReason::PasswordAlgorithms);
        }
        let hash = match chosen {
            Some([0, 2, 0, 0]) => Hash::Sha256,
            // Without an algorithm the nonce is not from this server: the nonce check rejects it.
            Some([0, 1, 0, 0]) | None => Hash::Md5,
            Some(_) => return Err(ErrorReason::PasswordAlgorithms),
        };
        Ok(Scheme {
            hash,
            requests,
            responses: Integrity::Sha256,
        })
    }
}

impl Key {
    /// Derives the key from a password.
    pub(super) fn new(scheme: Scheme, username: &str, realm: &str, password: &str) -> Key {
        let long_term = match scheme.hash {
            Hash::Md5 => LongTerm::Md5(long_term_key(username, realm, password)),
            Hash::Sha256 => LongTerm::Sha256(long_term_key_sha256(username, realm, password)),
        };
        Key::of(scheme, long_term)
    }

    /// Returns the long-term key, for [`Key::of`].
    pub(super) fn long_term(&self) -> LongTerm {
        self.long_term
    }

    /// Makes the integrity keys of a long-term key.
    pub(super) fn of(scheme: Scheme, long_term: LongTerm) -> Key {
        let bytes = long_term.bytes();
        let key = |integrity| match integrity {
            Integrity::Sha1 => IntegrityKey::new(bytes),
            Integrity::Sha256 => IntegrityKey::sha256(bytes),
        };
        let differ = scheme.requests != scheme.responses;
        Key {
            scheme,
            long_term,
            responses: key(scheme.responses),
            requests: differ.then(|| Box::new(key(scheme.requests))),
        }
    }

    /// Returns whether the integrity of a request is valid.
    pub(super) fn verifies(&self, message: &Message<'_>) -> bool {
        message.verify(self.requests.as_deref().unwrap_or(&self.responses))
    }

    /// Signs a response.
    pub(super) fn sign<'a>(&self, response: Writer<'a>) -> Writer<'a> {
        response.integrity(&self.responses)
    }
}
