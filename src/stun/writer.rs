//! The encoder: appends a message to a buffer. Padding is zero, and the length field is always
//! correct.

use std::net::SocketAddr;

use ring::hmac;

use super::address::{MAX_XOR_ADDRESS, encode_address, encode_xor_address};
use super::attribute::Attribute;
use super::fingerprint::fingerprint;
use super::header::{ATTRIBUTE_HEADER, COOKIE, Class, HEADER, Method, TransactionId};
use super::integrity::{Integrity, IntegrityKey};

/// Writes a message at the end of a buffer.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'a> Writer<'a> {
    /// Writes the header.
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

    /// Writes an attribute.
    pub fn attribute(self, attribute: Attribute, value: &[u8]) -> Self {
        self.out.extend_from_slice(&attribute.0.to_be_bytes());
        self.out
            .extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.out.extend_from_slice(value);
        let padded = (self.out.len() - self.start).next_multiple_of(4);
        self.out.resize(self.start + padded, 0);
        self.set_length(0)
    }

    /// Writes an XORed address (RFC 8489 section 14.2), for example XOR-MAPPED-ADDRESS.
    pub fn xor_address(self, attribute: Attribute, address: SocketAddr) -> Self {
        let mut value = [0; MAX_XOR_ADDRESS];
        let len = encode_xor_address(address, &self.transaction, &mut value);
        self.attribute(attribute, &value[..len])
    }

    /// Writes a plain address (RFC 8489 section 14.1), for example MAPPED-ADDRESS.
    pub fn address(self, attribute: Attribute, address: SocketAddr) -> Self {
        let mut value = [0; MAX_XOR_ADDRESS];
        let len = encode_address(address, &mut value);
        self.attribute(attribute, &value[..len])
    }

    /// Writes ERROR-CODE (RFC 8489 section 14.8).
    pub fn error_code(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(Attribute::ERROR_CODE, &value)
    }

    /// Writes ADDRESS-ERROR-CODE (RFC 8656 section 18.12): why an address family is not available.
    pub fn address_error_code(self, family: u8, code: u16, reason: &str) -> Self {
        let mut value = vec![family, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(Attribute::ADDRESS_ERROR_CODE, &value)
    }

    /// Writes the integrity attribute of the key, over everything written so far.
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

    /// Writes FINGERPRINT, which ends the message.
    pub fn fingerprint(self) {
        let writer = self.set_length(8);
        let value = fingerprint(&writer.out[writer.start..]);
        writer.attribute(Attribute::FINGERPRINT, &value);
    }

    /// Sets the length field to the current length and `more` bytes that will follow.
    fn set_length(self, more: usize) -> Self {
        let length = (self.out.len() - self.start - HEADER + more) as u16;
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes());
        self
    }
}
