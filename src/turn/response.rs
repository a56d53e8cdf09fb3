//! Responses: their shapes, and nothing about who gets which.

use std::net::SocketAddr;

use crate::stun::{Attribute, Class, Method, TransactionId, Writer};

use super::ErrorReason;
use super::algorithms::{Key, OFFERED};
use super::allocation::Allocation;

/// Unknown attributes that are listed: more than a datagram has in practice, and few enough for the
/// response to be one as well.
const MAX_UNKNOWN_LISTED: usize = 512;

/// The head of a response, and the shapes of what may follow it.
pub(super) struct ResponseBuilder {
    method: Method,
    transaction: TransactionId,
}

impl ResponseBuilder {
    pub fn new(method: Method, transaction: TransactionId) -> ResponseBuilder {
        ResponseBuilder {
            method,
            transaction,
        }
    }

    /// The success of an Allocate: always the same bytes for the same allocation.
    pub fn allocated(allocation: &Allocation, out: &mut Vec<u8>) {
        let transaction = allocation.transaction;
        let mut writer = Writer::new(out, Method::ALLOCATE, Class::Success, transaction);
        for bound in allocation.relayed_addresses() {
            writer = writer.xor_address(Attribute::XOR_RELAYED_ADDRESS, bound.relayed);
        }
        if let Some((family, reason)) = allocation.unavailable {
            let (code, phrase) = reason.error_code();
            writer = writer.address_error_code(family.number(), code, phrase);
        }
        let writer = writer.attribute(Attribute::LIFETIME, &allocation.granted.to_be_bytes());
        let writer = match &allocation.token {
            Some(token) => writer.attribute(Attribute::RESERVATION_TOKEN, token),
            None => writer,
        };
        let writer = writer.xor_address(Attribute::XOR_MAPPED_ADDRESS, allocation.route.client);
        allocation.key.sign(writer).fingerprint();
    }

    /// What is refused here may be granted at `alternate`: 300 instead.
    pub fn error(
        self,
        out: &mut Vec<u8>,
        reason: ErrorReason,
        alternate: Option<SocketAddr>,
        key: Option<&Key>,
    ) {
        let writer = self.writer(out);
        let writer = match alternate {
            Some(server) => writer
                .error_code(300, "Try Alternate")
                .address(Attribute::ALTERNATE_SERVER, server),
            None => {
                let (code, phrase) = reason.error_code();
                writer.error_code(code, phrase)
            }
        };
        sign(writer, key);
    }

    /// 401 and 438 carry REALM, NONCE and PASSWORD-ALGORITHMS, and no integrity.
    pub fn challenge(self, out: &mut Vec<u8>, reason: ErrorReason, realm: &str, nonce: &[u8]) {
        let (code, phrase) = reason.error_code();
        self.writer(out)
            .error_code(code, phrase)
            .attribute(Attribute::REALM, realm.as_bytes())
            .attribute(Attribute::NONCE, nonce)
            .attribute(Attribute::PASSWORD_ALGORITHMS, &OFFERED)
            .fingerprint();
    }

    /// 420 lists what was not understood (RFC 8489 section 14.9), each type once.
    pub fn unknown_attributes(
        self,
        out: &mut Vec<u8>,
        types: impl Iterator<Item = Attribute>,
        key: Option<&Key>,
    ) {
        let mut types: Vec<u16> = types.map(|attribute| attribute.0).collect();
        types.sort_unstable();
        types.dedup();
        types.truncate(MAX_UNKNOWN_LISTED);
        let list: Vec<u8> = types.iter().flat_map(|t| t.to_be_bytes()).collect();
        // A stranger gets few words: the response must not be much longer than the request.
        let (code, phrase) = match key {
            Some(_) => ErrorReason::UnknownAttribute.error_code(),
            None => (420, "Unknown"),
        };
        let writer = self.writer(out).error_code(code, phrase);
        sign(writer.attribute(Attribute::UNKNOWN_ATTRIBUTES, &list), key);
    }

    fn writer(self, out: &mut Vec<u8>) -> Writer<'_> {
        Writer::new(out, self.method, Class::Error, self.transaction)
    }
}

fn sign(writer: Writer<'_>, key: Option<&Key>) {
    match key {
        Some(key) => key.sign(writer).fingerprint(),
        None => writer.fingerprint(),
    }
}
