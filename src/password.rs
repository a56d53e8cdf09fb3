//! Passwords: hashed by Argon2id with the recommended parameters, kept as PHC text, never printed.
//!
//! Both directions cost about 19 MiB and 30 ms: whoever hashes for strangers bounds how many at once.

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};

/// Bytes of a password at most; hashing a longer one only costs time.
pub const MAX_BYTES: usize = 1024;

/// Minimum length of a new password in characters. A password that was set earlier is valid at any
/// length.
pub const MIN_CHARS: usize = 8;

/// What is compared where nobody has a password: the same work, and no password fits.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$ZGVjb3kgZGVjb3kgZGVjb3k\
                     $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The system gave no random bytes for a salt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the password can't be hashed: {0}")]
pub struct HashError(String);

/// `password` under a random salt, as PHC text.
///
/// # Errors
/// [`HashError`] where the system gives no random bytes.
pub fn hash(password: &str) -> Result<String, HashError> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed
        .map(|hash| hash.to_string())
        .map_err(|error| HashError(error.to_string()))
}

/// Whether `password` is the one that `kept` was made of. Takes as long where there is no such hash,
/// so that nobody learns by a clock who has a password.
pub fn verify(password: &str, stored: Option<&str>) -> bool {
    let parsed = stored.and_then(|text| PasswordHash::new(text).ok());
    match parsed.or_else(|| PasswordHash::new(DUMMY_HASH).ok()) {
        Some(hash) => Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_as_argon2id() {
        let text = hash("correct horse").unwrap();
        assert!(text.starts_with("$argon2id$"), "{text}");
        assert!(verify("correct horse", Some(&text)));
        assert!(!verify("wrong", Some(&text)));
    }

    #[test]
    fn the_decoy_costs_what_a_hash_costs_and_fits_no_password() {
        let parameters = |text: &str| PasswordHash::new(text).unwrap().params.to_string();
        assert_eq!(parameters(DUMMY_HASH), parameters(&hash("x").unwrap()));
        for stored in [None, Some(""), Some("not a hash")] {
            assert!(!verify("", stored) && !verify("decoy", stored));
        }
    }
}
