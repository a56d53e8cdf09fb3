//! Nonces without a table: `timestamp ‖ HMAC(key, client address ‖ timestamp)`.
//!
//! A nonce is good for the address it was given to, for an hour, and across restarts, since
//! the key is kept. Nothing is stored for whoever asks for one.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use subtle::ConstantTimeEq;

/// Seconds that a nonce is good for.
pub const LIFETIME: u64 = 3600;

/// Bytes of a nonce as text.
pub const LEN: usize = 27;

const STAMP: usize = 4;
const RAW: usize = 20;

/// Makes and checks nonces.
#[derive(Clone)]
pub struct Nonces {
    /// Newest first: it makes, all check.
    keys: Vec<hmac::Key>,
}

impl Nonces {
    /// `keys` are random bytes, newest first, at least one.
    pub fn new<K: AsRef<[u8]>>(keys: &[K]) -> Nonces {
        let key = |bytes: &K| hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref());
        Nonces {
            keys: keys.iter().map(key).collect(),
        }
    }

    /// A nonce for `client`, made at `unix`.
    pub fn make(&self, client: SocketAddr, unix: u64) -> [u8; LEN] {
        let mut text = [0; LEN];
        if let Some(key) = self.keys.first() {
            let raw = raw(key, client, (unix as u32).to_be_bytes());
            // 20 bytes are always 27 characters.
            let _ = URL_SAFE_NO_PAD.encode_slice(raw, &mut text);
        }
        text
    }

    /// Whether `nonce` was given to `client` less than an hour before `unix`.
    pub fn check(&self, nonce: &[u8], client: SocketAddr, unix: u64) -> bool {
        let mut given = [0; RAW + 1];
        if nonce.len() != LEN || URL_SAFE_NO_PAD.decode_slice(nonce, &mut given) != Ok(RAW) {
            return false;
        }
        let mut stamp = [0; STAMP];
        stamp.copy_from_slice(&given[..STAMP]);
        let age = (unix as u32).wrapping_sub(u32::from_be_bytes(stamp));
        let fits = |key| bool::from(raw(key, client, stamp).ct_eq(&given[..RAW]));
        u64::from(age) < LIFETIME && self.keys.iter().any(fits)
    }
}

fn raw(key: &hmac::Key, client: SocketAddr, stamp: [u8; STAMP]) -> [u8; RAW] {
    let ip = match client.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    };
    let mut context = hmac::Context::with_key(key);
    context.update(&stamp);
    context.update(&ip);
    context.update(&client.port().to_be_bytes());
    let mut raw = [0; RAW];
    raw[..STAMP].copy_from_slice(&stamp);
    raw[STAMP..].copy_from_slice(&context.sign().as_ref()[..RAW - STAMP]);
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn a_nonce_is_good_for_an_hour_and_its_own_client() {
        let nonces = Nonces::new(&[b"key"]);
        let nonce = nonces.make(client(1), 1_000_000);
        assert!(nonces.check(&nonce, client(1), 1_000_000 + LIFETIME - 1));
        assert!(!nonces.check(&nonce, client(1), 1_000_000 + LIFETIME));
        assert!(!nonces.check(&nonce, client(1), 999_999));
        assert!(!nonces.check(&nonce, client(2), 1_000_000));
        assert!(!nonces.check(b"obMatJos2", client(1), 1_000_000));
    }

    #[test]
    fn the_previous_key_still_checks_and_a_foreign_one_does_not() {
        let nonce = Nonces::new(&[b"old"]).make(client(1), 5);
        assert!(Nonces::new(&[b"new", b"old"]).check(&nonce, client(1), 6));
        assert!(!Nonces::new(&[b"new"]).check(&nonce, client(1), 6));
    }
}
