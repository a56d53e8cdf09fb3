//! The decoder: one pass over the attributes, no allocation, nothing trusted.

use ring::hmac;
use subtle::ConstantTimeEq;

use super::{Attribute, COOKIE, FINGERPRINT_XOR, Integrity, IntegrityKey, TransactionId, crc32};

/// Bytes of a STUN header.
pub const HEADER: usize = 20;

/// Bytes of an attribute before its value.
pub(super) const ATTRIBUTE_HEADER: usize = 4;

/// Bytes of the HMACs. That of SHA-256 may be cut down to the lesser figure where a usage of STUN
/// allows it (RFC 8489 section 14.6), which TURN does not.
const SHA1: usize = 20;
const SHA256: usize = 32;
const SHA256_CUT: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// A method; unlisted ones are kept as the number they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

impl Method {
    pub const BINDING: Method = Method(0x001);
    pub const ALLOCATE: Method = Method(0x003);
    pub const REFRESH: Method = Method(0x004);
    pub const SEND: Method = Method(0x006);
    pub const DATA: Method = Method(0x007);
    pub const CREATE_PERMISSION: Method = Method(0x008);
    pub const CHANNEL_BIND: Method = Method(0x009);

    /// The type field for this method in `class` (RFC 8489 section 5, figure 3).
    pub fn with_class(self, class: Class) -> u16 {
        let class = match class {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        };
        let m = self.0;
        (m & 0x00f) | ((m & 0x070) << 1) | ((m & 0xf80) << 2) | class
    }
}

/// Why bytes are not a STUN message. Such bytes are dropped without an answer.
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

/// A STUN message, borrowed from the datagram it came in.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    /// Where the attributes end that count: at the first integrity attribute, at FINGERPRINT, or
    /// at the end (RFC 8489 section 14.5).
    counted: usize,
    /// Offset of MESSAGE-INTEGRITY.
    sha1: Option<usize>,
    /// Offset of MESSAGE-INTEGRITY-SHA256.
    sha256: Option<usize>,
}

impl<'a> Message<'a> {
    /// Reads a whole datagram.
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
            counted: bytes.len(),
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

    /// The attributes that count, in order: those before the integrity attribute.
    pub fn attributes(&self) -> impl Iterator<Item = (Attribute, &'a [u8])> + 'a {
        let mut rest = &self.bytes[HEADER..self.counted];
        std::iter::from_fn(move || {
            let (attribute, value, after) = split_attribute(rest)?;
            rest = after;
            Some((attribute, value))
        })
    }

    /// The first attribute of this type; later ones are ignored (RFC 8489 section 14).
    pub fn get(&self, wanted: Attribute) -> Option<&'a [u8]> {
        let mut attributes = self.attributes();
        attributes.find_map(|(attribute, value)| (attribute == wanted).then_some(value))
    }

    /// The first attribute of this type as text.
    pub fn text(&self, wanted: Attribute) -> Option<&'a str> {
        std::str::from_utf8(self.get(wanted)?).ok()
    }

    /// Where `value`, a slice of this message, stands in the datagram.
    pub fn offset_of(&self, value: &[u8]) -> usize {
        value.as_ptr() as usize - self.bytes.as_ptr() as usize
    }

    /// The integrity attribute that decides: where there are both, the stronger one (RFC 8489
    /// section 9.2.4).
    pub fn integrity(&self) -> Option<Integrity> {
        let sha1 = self.sha1.map(|_| Integrity::Sha1);
        self.sha256.map(|_| Integrity::Sha256).or(sha1)
    }

    /// Checks the integrity attribute that the key is for, in constant time (RFC 8489 sections 14.5
    /// and 14.6). One that was cut short does not hold.
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
                    if value.len() != SHA1 {
                        return Err(Malformed::Attribute);
                    }
                    // After MESSAGE-INTEGRITY-SHA256 it would not be covered, and does not count.
                    if !ended {
                        self.sha1 = Some(offset);
                    }
                    self.end_at(offset, &mut ended);
                }
                Attribute::MESSAGE_INTEGRITY_SHA256 if self.sha256.is_none() => {
                    let length = value.len();
                    if !(SHA256_CUT..=SHA256).contains(&length) || length % 4 != 0 {
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
            self.counted = offset;
            *ended = true;
        }
    }

    fn check_fingerprint(&self, offset: usize, value: &[u8]) -> Result<(), Malformed> {
        let expected = crc32(&self.bytes[..offset]) ^ FINGERPRINT_XOR;
        if value == expected.to_be_bytes() {
            Ok(())
        } else {
            Err(Malformed::Fingerprint)
        }
    }
}

/// Splits the first attribute off: its type, its value, and what follows its padding.
fn split_attribute(bytes: &[u8]) -> Option<(Attribute, &[u8], &[u8])> {
    let (&[a, b, c, d], rest) = bytes.split_first_chunk::<ATTRIBUTE_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([c, d]));
    let value = rest.get(..length)?;
    let after = rest.get(length.next_multiple_of(4)..)?;
    Some((Attribute(u16::from_be_bytes([a, b])), value, after))
}

fn split_type(bits: u16) -> (Class, Method) {
    let class = match bits & 0x110 {
        0x000 => Class::Request,
        0x010 => Class::Indication,
        0x100 => Class::Success,
        _ => Class::Error,
    };
    let method = (bits & 0x00f) | ((bits & 0x0e0) >> 1) | ((bits & 0x3e00) >> 2);
    (class, Method(method))
}
