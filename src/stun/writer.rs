//! The encoder: appends one message to a buffer, padding zeroed, length kept true.

use std::net::SocketAddr;

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::{
    ATTRIBUTE_HEADER, Attribute, COOKIE, Class, FINGERPRINT_XOR, HEADER, MAX_XOR_ADDRESS, Method,
    TransactionId, crc32, encode_address, encode_xor_address,
};

/// An attribute that proves who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY (RFC 8489 section 14.5).
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256 (section 14.6).
    Sha256,
}

/// A key for one of the integrity attributes, its schedule computed once.
#[derive(Clone)]
pub struct IntegrityKey(pub(super) hmac::Key);

impl IntegrityKey {
    /// For MESSAGE-INTEGRITY. `key` is the password's bytes, or those of a long-term key.
    pub fn new(key: &[u8]) -> IntegrityKey {
        IntegrityKey(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key))
    }

    /// For MESSAGE-INTEGRITY-SHA256.
    pub fn sha256(key: &[u8]) -> IntegrityKey {
        IntegrityKey(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The attribute that it makes and checks.
    pub fn integrity(&self) -> Integrity {
        match self.0.algorithm() == hmac::HMAC_SHA256 {
            true => Integrity::Sha256,
            false => Integrity::Sha1,
        }
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Writes one message at the end of `out`.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'a> Writer<'a> {
    pub fn new(
        out: &'a mut Vec<u8>,
        method: Method,
        class: Class,
        transaction: TransactionId,
    ) -> Writer<'a> {
        let start = out.len();
        out.extend_from_slice(&method.with_class(class).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&COOKIE);
        out.extend_from_slice(&transaction);
        Writer {
            out,
            start,
            transaction,
        }
    }

    pub fn attribute(self, attribute: Attribute, value: &[u8]) -> Self {
        self.out.extend_from_slice(&attribute.0.to_be_bytes());
        self.out
            .extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.out.extend_from_slice(value);
        let padded = (self.out.len() - self.start).next_multiple_of(4);
        self.out.resize(self.start + padded, 0);
        self.set_length(0)
    }

    pub fn xor_address(self, attribute: Attribute, address: SocketAddr) -> Self {
        let mut value = [0; MAX_XOR_ADDRESS];
        let len = encode_xor_address(address, &self.transaction, &mut value);
        self.attribute(attribute, &value[..len])
    }

    /// An address as it is (RFC 8489 section 14.1): MAPPED-ADDRESS and its kin.
    pub fn address(self, attribute: Attribute, address: SocketAddr) -> Self {
        let mut value = [0; MAX_XOR_ADDRESS];
        let len = encode_address(address, &mut value);
        self.attribute(attribute, &value[..len])
    }

    /// ERROR-CODE (RFC 8489 section 14.8).
    pub fn error_code(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(Attribute::ERROR_CODE, &value)
    }

    /// ADDRESS-ERROR-CODE (RFC 8656 section 18.12): why there is no address of a family.
    pub fn address_error_code(self, family: u8, code: u16, reason: &str) -> Self {
        let mut value = vec![family, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(Attribute::ADDRESS_ERROR_CODE, &value)
    }

    /// The integrity attribute of the key, over everything written so far.
    pub fn integrity(self, key: &IntegrityKey) -> Self {
        let attribute = match key.integrity() {
            Integrity::Sha1 => Attribute::MESSAGE_INTEGRITY,
            Integrity::Sha256 => Attribute::MESSAGE_INTEGRITY_SHA256,
        };
        let len = key.0.algorithm().digest_algorithm().output_len();
        let writer = self.set_length(ATTRIBUTE_HEADER + len);
        let tag = hmac::sign(&key.0, &writer.out[writer.start..]);
        writer.attribute(attribute, tag.as_ref())
    }

    /// FINGERPRINT, which ends the message.
    pub fn fingerprint(self) {
        let writer = self.set_length(8);
        let crc = crc32(&writer.out[writer.start..]) ^ FINGERPRINT_XOR;
        writer.attribute(Attribute::FINGERPRINT, &crc.to_be_bytes());
    }

    /// Sets the length field to what is there and `more` bytes that will follow.
    fn set_length(self, more: usize) -> Self {
        let length = (self.out.len() - self.start - HEADER + more) as u16;
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes());
        self
    }
}
