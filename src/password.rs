//! Password hashes: Argon2id with the recommended parameters, as PHC text.
//!
//! Hashing and verifying cost about 19 MiB and 30 ms: a caller bounds how many run at once.

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};

use crate::secret::Secret;

/// Maximum length of a password in bytes: hashing a longer one only costs time.
pub const MAX_BYTES: usize = 1024;

/// Minimum length of a new password in characters. A password that was set earlier is valid at any
/// length.
pub const MIN_CHARS: usize = 8;

/// The hash that is verified if a user has none: the same work, and no password matches.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$ZGVjb3kgZGVjb3kgZGVjb3k\
                     $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The system gave no random bytes for a salt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the password can't be hashed: {0}")]
pub struct HashError(String);

/// Hashes a password with a random salt; returns PHC text.
///
/// # Errors
/// [`HashError`] if the system gives no random bytes.
pub fn hash(password: &Secret) -> Result<String, HashError> {
    let hashed = Argon2::default().hash_password(password.expose().as_bytes());
    hashed
        .map(|hash| hash.to_string())
        .map_err(|error| HashError(error.to_string()))
}

/// Whether the password matches the hash. Takes as long without a valid hash, so that the duration does
/// not reveal whether a user has a password.
pub fn verify(password: &Secret, stored: Option<&str>) -> bool {
    let parsed = stored.and_then(|text| PasswordHash::new(text).ok());
    match parsed.or_else(|| PasswordHash::new(DUMMY_HASH).ok()) {
        Some(hash) => Argon2::default()
            .verify_password(password.expose().as_bytes(), &hash)
            .is_ok(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[test]
    fn a_password_is_hashed_with_argon2id() {
        let text = hash(&secret("correct horse")).unwrap();
        assert!(text.starts_with("$argon2id$"), "{text}");
        assert!(verify(&secret("correct horse"), Some(&text)));
        assert!(!verify(&secret("wrong"), Some(&text)));
    }

    #[test]
    fn the_dummy_hash_costs_as_much_as_a_real_one_and_matches_no_password() {
        let parameters = |text: &str| PasswordHash::new(text).unwrap().params.to_string();
        assert_eq!(
            parameters(DUMMY_HASH),
            parameters(&hash(&secret("x")).unwrap())
        );
        for stored in [None, Some(""), Some("not a hash")] {
            assert!(!verify(&secret(""), stored) && !verify(&secret("decoy"), stored));
        }
    }
}
