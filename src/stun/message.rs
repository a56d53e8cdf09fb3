//! The decoder: one pass over the attributes without allocation. The input is untrusted.

use ring::hmac;
use subtle::ConstantTimeEq;

use super::attribute::Attribute;
use super::fingerprint::fingerprint;
use super::header::{ATTRIBUTE_HEADER, COOKIE, Class, HEADER, Method, TransactionId, split_type};
use super::integrity::{Integrity, IntegrityKey};

/// The lengths of the HMACs in bytes. A usage of STUN may allow a truncated SHA-256 HMAC (RFC 8489
/// section 14.6). TURN does not.
const SHA1_BYTES: usize = 20;
const SHA256_BYTES: usize = 32;
const MIN_SHA256_BYTES: usize = 16;

/// Why bytes are not a STUN message. The server drops such bytes without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("shorter than a STUN header, or not marked as STUN")]
    NotStun,
    #[error("the length field does not fit the datagram")]
    Length,
    #[error("an attribute runs past the end")]
    Attribute,
    #[error("FINGERPRINT does not match")]
    Fingerprint,
}

/// A STUN message, borrowed from its datagram.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    /// The end of the attributes that count: at the first integrity attribute, at FINGERPRINT, or
    /// at the end of the message (RFC 8489 section 14.5).
    attributes_end: usize,
    /// The offset of MESSAGE-INTEGRITY.
    sha1: Option<usize>,
    /// The offset of MESSAGE-INTEGRITY-SHA256.
    sha256: Option<usize>,
}

impl<'a> Message<'a> {
    /// Parses a whole datagram.
    ///
    /// # Errors
    ///
    /// The reason why the bytes are not a STUN message.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or(Malformed::NotStun)?;
        if header[0] & 0xc0 != 0 || header[4..8] != COOKIE {
            return Err(Malformed::NotStun);
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length % 4 != 0 || HEADER + length != bytes.len() {
            return Err(Malformed::Length);
        }
        let (class, method) = split_type(u16::from_be_bytes([header[0], header[1]]));
        let mut message = Message {
            bytes,
            class,
            method,
            attributes_end: bytes.len(),
            sha1: None,
            sha256: None,
        };
        message.scan()?;
        Ok(message)
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn transaction(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER]);
        id
    }

    /// Iterates over the attributes before the integrity attribute, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (Attribute, &'a [u8])> + 'a {
        let mut rest = &self.bytes[HEADER..self.attributes_end];
        std::iter::from_fn(move || {
            let (attribute, value, after) = split_attribute(rest)?;
            rest = after;
            Some((attribute, value))
        })
    }

    /// Returns the first attribute of this type. Later ones are ignored (RFC 8489 section 14).
    pub fn get(&self, wanted: Attribute) -> Option<&'a [u8]> {
        let mut attributes = self.attributes();
        attributes.find_map(|(attribute, value)| (attribute == wanted).then_some(value))
    }

    /// Returns the first attribute of this type as text.
    pub fn text(&self, wanted: Attribute) -> Option<&'a str> {
        std::str::from_utf8(self.get(wanted)?).ok()
    }

    /// Returns the offset of `value`, a slice of this message, in the datagram.
    pub fn offset_of(&self, value: &[u8]) -> usize {
        value.as_ptr() as usize - self.bytes.as_ptr() as usize
    }

    /// Returns the integrity attribute that decides: of both, the stronger one (RFC 8489 section
    /// 9.2.4).
    pub fn integrity(&self) -> Option<Integrity> {
        let sha1 = self.sha1.map(|_| Integrity::Sha1);
        self.sha256.map(|_| Integrity::Sha256).or(sha1)
    }

    /// Returns whether the integrity attribute of the key is valid (RFC 8489 sections 14.5 and
    /// 14.6). The comparison takes constant time. A truncated attribute is invalid.
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        let offset = match key.integrity() {
            Integrity::Sha1 => self.sha1,
            Integrity::Sha256 => self.sha256,
        };
        let attribute = offset.and_then(|at| Some((at, split_attribute(&self.bytes[at..])?)));
        let Some((offset, (_, value, _))) = attribute else {
            return false;
        };
        let length = (offset + ATTRIBUTE_HEADER + value.len() - HEADER) as u16;
        let mut context = hmac::Context::with_key(&key.0);
        context.update(&self.bytes[..2]);
        context.update(&length.to_be_bytes());
        context.update(&self.bytes[4..offset]);
        context.sign().as_ref().ct_eq(value).into()
    }

    fn scan(&mut self) -> Result<(), Malformed> {
        let mut offset = HEADER;
        let mut ended = false;
        while offset < self.bytes.len() {
            let (attribute, value, rest) =
                split_attribute(&self.bytes[offset..]).ok_or(Malformed::Attribute)?;
            match attribute {
                Attribute::MESSAGE_INTEGRITY if self.sha1.is_none() => {
                    if value.len() != SHA1_BYTES {
                        return Err(Malformed::Attribute);
                    }
                    // After MESSAGE-INTEGRITY-SHA256 it is not covered and does not count.
                    if !ended {
                        self.sha1 = Some(offset);
                    }
                    self.end_at(offset, &mut ended);
                }
                Attribute::MESSAGE_INTEGRITY_SHA256 if self.sha256.is_none() => {
                    let length = value.len();
                    if !(MIN_SHA256_BYTES..=SHA256_BYTES).contains(&length) || length % 4 != 0 {
                        return Err(Malformed::Attribute);
                    }
                    self.sha256 = Some(offset);
                    self.end_at(offset, &mut ended);
                }
                Attribute::FINGERPRINT => {
                    self.check_fingerprint(offset, value)?;
                    self.end_at(offset, &mut ended);
                    if !rest.is_empty() {
                        return Err(Malformed::Fingerprint);
                    }
                }
                _ => {}
            }
            offset = self.bytes.len() - rest.len();
        }
        Ok(())
    }

    fn end_at(&mut self, offset: usize, ended: &mut bool) {
        if !*ended {
            self.attributes_end = offset;
            *ended = true;
        }
    }

    fn check_fingerprint(&self, offset: usize, value: &[u8]) -> Result<(), Malformed> {
        if value == fingerprint(&self.bytes[..offset]) {
            Ok(())
        } else {
            Err(Malformed::Fingerprint)
        }
    }
}

/// Splits off the first attribute. Returns its type, its value, and the bytes after its padding.
fn split_attribute(bytes: &[u8]) -> Option<(Attribute, &[u8], &[u8])> {
    let (&[a, b, c, d], rest) = bytes.split_first_chunk::<ATTRIBUTE_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([c, d]));
    let value = rest.get(..length)?;
    let after = rest.get(length.next_multiple_of(4)..)?;
    Some((Attribute(u16::from_be_bytes([a, b])), value, after))
}
