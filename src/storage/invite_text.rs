//! The text of an invite and its hash. The database holds the SHA-256 only: 192 random bits need no
//! slower hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

const RANDOM_BYTES: usize = 24;

pub(super) fn hash(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .to_vec()
}

pub(super) fn random_text() -> String {
    let mut bytes = [0; RANDOM_BYTES];
    // Linux has no way to fail here once it is up; a predictable invite would be worse than none.
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system gives out random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}
