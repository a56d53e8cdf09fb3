//! Nonces without a table: `cookie ‖ timestamp ‖ HMAC(key, cookie ‖ timestamp ‖ client address)`.
//!
//! A nonce is valid for the client address that it was made for, for an hour, and across restarts,
//! because the key is stored. The server stores nothing for a nonce. The *nonce cookie* at its
//! start contains the security features of this server (RFC 8489 section 9.2.1). An attacker who
//! changes it to downgrade a client makes the nonce invalid.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use subtle::ConstantTimeEq;

/// The lifetime of a nonce in seconds.
pub(super) const LIFETIME_SECONDS: u64 = 3600;

/// The length of a nonce in bytes.
pub(super) const NONCE_BYTES: usize = COOKIE.len() + TEXT_CHARS;

/// The start of every nonce cookie (RFC 8489 section 9.2.1), before the security features.
const RFC_8489: &[u8] = b"obMatJos2";

/// The length of the security features: 24 bits in base64 (section 18.1; by erratum 6290 bit 0 is
/// the lowest).
const FEATURE_CHARS: usize = 4;

/// The feature bit of PASSWORD-ALGORITHMS.
const PASSWORD_ALGORITHMS: u8 = 1;

/// The nonce cookie of this server: password algorithms, no username anonymity.
const COOKIE: &[u8; 13] = b"obMatJos2AAAB";

const TIMESTAMP_BYTES: usize = 4;

/// The timestamp and the truncated HMAC.
const RAW_BYTES: usize = 20;

/// The length of `RAW_BYTES` bytes in base64.
const TEXT_CHARS: usize = 27;

/// Makes and checks nonces.
#[derive(Clone)]
pub struct Nonces {
    /// Newest first. The newest key makes nonces, all keys check them.
    keys: Vec<hmac::Key>,
}

impl Nonces {
    /// Creates nonces with `keys` of random bytes, newest first, at least one.
    pub fn new<K: AsRef<[u8]>>(keys: &[K]) -> Nonces {
        let key = |bytes: &K| hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref());
        Nonces {
            keys: keys.iter().map(key).collect(),
        }
    }

    /// Returns a nonce for `client`, made at `unix` seconds.
    pub fn make(&self, client: SocketAddr, unix: u64) -> [u8; NONCE_BYTES] {
        let mut text = [0; NONCE_BYTES];
        if let Some(key) = self.keys.first() {
            let raw = raw(key, client, (unix as u32).to_be_bytes());
            let (cookie, rest) = text.split_at_mut(COOKIE.len());
            cookie.copy_from_slice(COOKIE);
            // 20 bytes always have 27 characters.
            let _ = URL_SAFE_NO_PAD.encode_slice(raw, rest);
        }
        text
    }

    /// Returns whether `nonce` was made for `client` less than an hour before `unix` seconds.
    pub fn check(&self, nonce: &[u8], client: SocketAddr, unix: u64) -> bool {
        let mut decoded = [0; RAW_BYTES + 1];
        let text = nonce.strip_prefix(COOKIE).unwrap_or_default();
        if text.len() != TEXT_CHARS
            || URL_SAFE_NO_PAD.decode_slice(text, &mut decoded) != Ok(RAW_BYTES)
        {
            return false;
        }
        let mut stamp = [0; TIMESTAMP_BYTES];
        stamp.copy_from_slice(&decoded[..TIMESTAMP_BYTES]);
        let age = (unix as u32).wrapping_sub(u32::from_be_bytes(stamp));
        let matches = |key| bool::from(raw(key, client, stamp).ct_eq(&decoded[..RAW_BYTES]));
        u64::from(age) < LIFETIME_SECONDS && self.keys.iter().any(matches)
    }
}

/// Returns whether a nonce, of any server, has the feature bit of PASSWORD-ALGORITHMS.
pub(super) fn offers_algorithms(nonce: &[u8]) -> bool {
    let features = nonce
        .strip_prefix(RFC_8489)
        .and_then(|rest| rest.get(..FEATURE_CHARS));
    let mut bits = [0; 3];
    let read = features.map(|text| STANDARD.decode_slice(text, &mut bits));
    read == Some(Ok(bits.len())) && bits[2] & PASSWORD_ALGORITHMS != 0
}

fn raw(key: &hmac::Key, client: SocketAddr, stamp: [u8; TIMESTAMP_BYTES]) -> [u8; RAW_BYTES] {
    let ip = match client.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    };
    let mut context = hmac::Context::with_key(key);
    context.update(COOKIE);
    context.update(&stamp);
    context.update(&ip);
    context.update(&client.port().to_be_bytes());
    let mut raw = [0; RAW_BYTES];
    raw[..TIMESTAMP_BYTES].copy_from_slice(&stamp);
    raw[TIMESTAMP_BYTES..].copy_from_slice(&context.sign().as_ref()[..RAW_BYTES - TIMESTAMP_BYTES]);
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn a_nonce_is_valid_for_an_hour_and_for_its_client_only() {
        let nonces = Nonces::new(&[b"key"]);
        let nonce = nonces.make(client(1), 1_000_000);
        assert!(nonces.check(&nonce, client(1), 1_000_000 + LIFETIME_SECONDS - 1));
        assert!(!nonces.check(&nonce, client(1), 1_000_000 + LIFETIME_SECONDS));
        assert!(!nonces.check(&nonce, client(1), 999_999));
        assert!(!nonces.check(&nonce, client(2), 1_000_000));
        assert!(!nonces.check(b"obMatJos2", client(1), 1_000_000));
    }

    #[test]
    fn the_nonce_cookie_flags_password_algorithms_and_no_anonymity() {
        let nonce = Nonces::new(&[b"key"]).make(client(1), 5);
        assert_eq!(&nonce[..13], b"obMatJos2AAAB");
        assert!(offers_algorithms(&nonce));
        assert!(offers_algorithms(b"obMatJos2AAADanother"));
        for none in [
            &b"obMatJos2AAAC"[..],
            b"obMatJos2AAA",
            b"obMatJos2AA_B",
            b"obMatJos3AAAB",
            b"AAAB",
            b"",
        ] {
            assert!(!offers_algorithms(none), "{none:?}");
        }
    }

    #[test]
    fn a_nonce_with_a_changed_cookie_is_invalid() {
        let nonces = Nonces::new(&[b"key"]);
        let nonce = nonces.make(client(1), 5);
        assert!(nonces.check(&nonce, client(1), 6));
        assert!(!nonces.check(&nonce[13..], client(1), 6));
        for cookie in [b"obMatJos2AAAA", b"obMatJos2AAAC", b"obMatJos2AAAD"] {
            let forged = [cookie, &nonce[13..]].concat();
            assert!(!nonces.check(&forged, client(1), 6));
        }
    }

    #[test]
    fn nonces_of_the_previous_key_are_valid_and_of_other_keys_are_not() {
        let nonce = Nonces::new(&[b"old"]).make(client(1), 5);
        assert!(Nonces::new(&[b"new", b"old"]).check(&nonce, client(1), 6));
        assert!(!Nonces::new(&[b"new"]).check(&nonce, client(1), 6));
    }
}
