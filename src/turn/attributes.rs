//! The attributes of requests: parsing and validation.

use std::net::SocketAddr;

use crate::stun::{Attribute, Message, decode_xor_address};

use super::ErrorReason;
use super::allocation::PortParity;
use super::family::Family;
use super::reservation::Token;

/// The comprehension-required attributes that requests may carry. Others get 420. CHANGE-REQUEST
/// and DONT-FRAGMENT depend on the configuration: see
/// [`Server::unknown_attributes`](super::Server).
const KNOWN: [Attribute; 12] = [
    Attribute::MAPPED_ADDRESS,
    Attribute::USERNAME,
    Attribute::CHANNEL_NUMBER,
    Attribute::LIFETIME,
    Attribute::XOR_PEER_ADDRESS,
    Attribute::REALM,
    Attribute::NONCE,
    Attribute::REQUESTED_ADDRESS_FAMILY,
    Attribute::EVEN_PORT,
    Attribute::REQUESTED_TRANSPORT,
    Attribute::PASSWORD_ALGORITHM,
    Attribute::RESERVATION_TOKEN,
];

/// The default lifetime of an allocation in seconds (RFC 8656 section 3.2).
pub(super) const DEFAULT_LIFETIME: u32 = 600;

/// The maximum lifetime of an allocation in seconds.
pub(super) const MAX_LIFETIME: u32 = 3600;

/// Returns the comprehension-required attributes that are not in [`KNOWN`].
pub(super) fn unknown<'a>(message: &Message<'a>) -> impl Iterator<Item = Attribute> + 'a {
    let types = message.attributes().map(|(attribute, _)| attribute);
    types.filter(|attribute| attribute.comprehension_required() && !KNOWN.contains(attribute))
}

/// Returns LIFETIME in seconds, or the default.
pub(super) fn lifetime(message: &Message<'_>) -> Result<u32, ErrorReason> {
    match message.get(Attribute::LIFETIME) {
        None => Ok(DEFAULT_LIFETIME),
        Some(value) => value
            .try_into()
            .map(u32::from_be_bytes)
            .map_err(|_| ErrorReason::BadRequest),
    }
}

/// Returns EVEN-PORT (RFC 8656 section 18.7). Its highest bit requests the next port as well.
pub(super) fn even_port(message: &Message<'_>) -> Result<PortParity, ErrorReason> {
    match message.get(Attribute::EVEN_PORT) {
        None => Ok(PortParity::Any),
        Some([flags, ..]) if flags & 0x80 == 0 => Ok(PortParity::Even),
        Some([_, ..]) => Ok(PortParity::Pair),
        Some([]) => Err(ErrorReason::BadRequest),
    }
}

/// Returns RESERVATION-TOKEN (RFC 8656 section 18.11).
pub(super) fn reservation_token(message: &Message<'_>) -> Result<Option<Token>, ErrorReason> {
    let value = message.get(Attribute::RESERVATION_TOKEN);
    let token = value.map(|value| value.try_into().map_err(|_| ErrorReason::BadRequest));
    token.transpose()
}

/// Returns REQUESTED-ADDRESS-FAMILY (RFC 8656 section 18.6).
pub(super) fn requested_family(message: &Message<'_>) -> Result<Option<Family>, ErrorReason> {
    match message.get(Attribute::REQUESTED_ADDRESS_FAMILY) {
        None => Ok(None),
        Some([number, _, _, _]) => match Family::from_number(*number) {
            Some(family) => Ok(Some(family)),
            None => Err(ErrorReason::AddressFamily),
        },
        Some(_) => Err(ErrorReason::BadRequest),
    }
}

/// Returns whether ADDITIONAL-ADDRESS-FAMILY requests IPv6 besides IPv4, its only valid value (RFC
/// 8656 section 7.2).
pub(super) fn wants_both_families(message: &Message<'_>) -> Result<bool, ErrorReason> {
    match message.get(Attribute::ADDITIONAL_ADDRESS_FAMILY) {
        None => Ok(false),
        Some([number, _, _, _]) if *number == Family::V6.number() => Ok(true),
        Some(_) => Err(ErrorReason::BadRequest),
    }
}

/// Returns the peers that a request names.
pub(super) fn peers<'a>(
    message: &Message<'a>,
) -> impl Iterator<Item = Result<SocketAddr, ErrorReason>> + 'a {
    let transaction = message.transaction();
    let values = message.attributes();
    let values = values.filter(|(attribute, _)| *attribute == Attribute::XOR_PEER_ADDRESS);
    values.map(move |(_, value)| {
        decode_xor_address(value, &transaction).ok_or(ErrorReason::BadRequest)
    })
}
