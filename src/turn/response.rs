//! The format of responses. Which response a request gets is decided elsewhere.

use std::net::SocketAddr;

use crate::stun::{Attribute, Class, Method, TransactionId, Writer};

use super::ErrorReason;
use super::algorithms::{Key, OFFERED};
use super::allocation::Allocation;

/// Maximum number of listed unknown attributes: more than a datagram has in practice, and few
/// enough for the response to fit into one.
const MAX_UNKNOWN_LISTED: usize = 512;

/// Writes a response to one request.
pub(super) struct ResponseBuilder {
    method: Method,
    transaction: TransactionId,
}

impl ResponseBuilder {
    pub(super) fn new(method: Method, transaction: TransactionId) -> ResponseBuilder {
        ResponseBuilder {
            method,
            transaction,
        }
    }

    /// Writes the success response of an Allocate: always the same bytes for the same allocation.
    pub(super) fn allocated(allocation: &Allocation, out: &mut Vec<u8>) {
        let transaction = allocation.transaction;
        let mut writer = Writer::new(out, Method::ALLOCATE, Class::Success, transaction);
        for address in allocation.relayed_addresses() {
            writer = writer.xor_address(Attribute::XOR_RELAYED_ADDRESS, address.relayed);
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

    /// Writes an error response, or 300 (Try Alternate) if there is an alternate server.
    pub(super) fn error(
        self,
        out: &mut Vec<u8>,
        reason: ErrorReason,
        alternate: Option<SocketAddr>,
        key: Option<&Key>,
    ) {
        let writer = self.writer(out);
        let writer = if let Some(server) = alternate {
            writer
                .error_code(300, "Try Alternate")
                .address(Attribute::ALTERNATE_SERVER, server)
        } else {
            let (code, phrase) = reason.error_code();
            writer.error_code(code, phrase)
        };
        sign(writer, key);
    }

    /// Writes a 401 or 438 response, with REALM, NONCE and PASSWORD-ALGORITHMS and without
    /// integrity.
    pub(super) fn challenge(
        self,
        out: &mut Vec<u8>,
        reason: ErrorReason,
        realm: &str,
        nonce: &[u8],
    ) {
        let (code, phrase) = reason.error_code();
        self.writer(out)
            .error_code(code, phrase)
            .attribute(Attribute::REALM, realm.as_bytes())
            .attribute(Attribute::NONCE, nonce)
            .attribute(Attribute::PASSWORD_ALGORITHMS, &OFFERED)
            .fingerprint();
    }

    /// Writes a 420 response that lists the unknown attributes (RFC 8489 section 14.9), each type
    /// once.
    pub(super) fn unknown_attributes(
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
        // The response to an unauthenticated request must not be much longer than the request.
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
