//! Device tokens: proof of an earlier successful login on a device.
//!
//! A client with a device token is not affected by other clients' attempts for the same name: OWASP's
//! "device cookies", without cookies. The token alone grants no access. The server stores nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::secret::Secret;

/// A login renews it.
const LIFETIME_SECONDS: u64 = 365 * 86_400;

/// The context string of the key derivation.
const KEY_CONTEXT: &[u8] = b"parlor: device tokens";

const ID_BYTES: usize = 16;
const TIME_BYTES: usize = 8;

/// The id of a device, drawn at random at its first login.
pub type DeviceId = [u8; ID_BYTES];

/// Issues and checks device tokens.
pub struct Devices {
    /// Newest first: the newest key issues, all keys verify.
    keys: Vec<hmac::Key>,
}

impl Devices {
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Devices {
        let keys = secrets.map(|secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, KEY_CONTEXT).as_ref())
        });
        Devices {
            keys: keys.collect(),
        }
    }

    /// Issues a token for a device on which `name` has just logged in; `known` is the id in its last token.
    pub fn issue(&self, known: Option<DeviceId>, name: &str, unix: u64) -> String {
        let id = known.unwrap_or_else(|| uuid::Uuid::new_v4().into_bytes());
        let mut token = [&id[..], &unix.to_be_bytes()].concat();
        let tag = hmac::sign(&self.keys[0], &signed(&token, name));
        token.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Returns the device if the token was issued for `name` within the last year.
    pub fn check(&self, token: &str, name: &str, unix: u64) -> Option<DeviceId> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (head, tag) = token.split_at_checked(ID_BYTES + TIME_BYTES)?;
        let signed = signed(head, name);
        let is_ours = |key| hmac::verify(key, &signed, tag).is_ok();
        if !self.keys.iter().any(is_ours) {
            return None;
        }
        let (id, issued) = head.split_at(ID_BYTES);
        let issued = u64::from_be_bytes(issued.try_into().ok()?);
        let is_fresh = unix.saturating_sub(issued) < LIFETIME_SECONDS;
        id.try_into().ok().filter(|_| is_fresh)
    }
}

fn signed(head: &[u8], name: &str) -> Vec<u8> {
    [head, name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000;

    fn devices(secrets: &[&str]) -> Devices {
        let secrets: Vec<_> = secrets.iter().map(|text| Secret::new(*text)).collect();
        Devices::new(secrets.iter())
    }

    #[test]
    fn a_device_token_is_valid_for_its_user_for_a_year_after_the_last_login() {
        let devices = devices(&["north"]);
        let token = devices.issue(None, "alice", NOW);
        let id = devices.check(&token, "alice", NOW).expect("its device");
        assert_eq!(devices.check(&token, "bob", NOW), None);
        let last = NOW + LIFETIME_SECONDS - 1;
        assert_eq!(devices.check(&token, "alice", last), Some(id));
        assert_eq!(devices.check(&token, "alice", last + 1), None);
        let renewed = devices.issue(Some(id), "alice", last);
        assert_eq!(devices.check(&renewed, "alice", last + 1), Some(id));
        assert_ne!(devices.issue(None, "alice", NOW), token);
    }

    #[test]
    fn a_previous_secret_still_verifies_a_device_token_and_an_unknown_one_does_not() {
        let token = devices(&["old"]).issue(None, "alice", NOW);
        assert!(
            devices(&["new", "old"])
                .check(&token, "alice", NOW)
                .is_some()
        );
        assert!(devices(&["new"]).check(&token, "alice", NOW).is_none());
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_device_token(text in "\\PC{0,90}", at in 0..74usize, bit in 0..6u8) {
            let devices = devices(&["north"]);
            prop_assert_eq!(devices.check(&text, "alice", NOW), None);
            let token = devices.issue(None, "alice", NOW);
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64");
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let changed = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(devices.check(&changed, "alice", NOW), None);
        }
    }
}
