//! Numbers that stand for user names where other programs can read them.

use ring::hmac;

use crate::secret::Secret;

/// The context string of the key derivation.
const KEY_CONTEXT: &[u8] = b"parlor: names in limits";
/// Names share this many numbers, so that guessed names do not fill a server, and no number reveals its name.
const SLOTS: u32 = 1 << 20;

/// Assigns a number to each name, by a secret key.
pub(super) struct NameSlots(hmac::Key);

impl NameSlots {
    pub(super) fn new(secret: &Secret) -> NameSlots {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let derived = hmac::sign(&key, KEY_CONTEXT);
        NameSlots(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// Returns the number of a name, below [`SLOTS`].
    pub(super) fn of(&self, name: &str) -> u32 {
        let tag = hmac::sign(&self.0, name.as_bytes());
        let bytes = tag.as_ref().iter().take(4);
        bytes.fold(0, |number, byte| number << 8 | u32::from(*byte)) % SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_depends_on_the_name_and_the_secret_alone() {
        let slots = |secret: &str| NameSlots::new(&Secret::new(secret));
        let alice = slots("north").of("alice");
        assert_eq!(slots("north").of("alice"), alice);
        assert_ne!(slots("north").of("bob"), alice);
        assert_ne!(slots("south").of("alice"), alice);
        assert!((0..1000).all(|n| slots("north").of(&n.to_string()) < SLOTS));
    }
}
