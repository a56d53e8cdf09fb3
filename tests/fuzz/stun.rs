//! The STUN decoder on one datagram, compared with the decoder of the `stun` crate.

use std::net::{IpAddr, SocketAddr};

use parlor::stun::{
    Attribute, ChannelData, HEADER, Integrity, IntegrityKey, MAX_XOR_ADDRESS, Message, Writer,
    decode_xor_address, encode_xor_address, is_channel_number,
};

pub fn run(datagram: &[u8]) {
    if let Some(data) = ChannelData::parse(datagram) {
        assert!(is_channel_number(data.number) && data.len + 4 <= datagram.len());
        assert_eq!(data.header(), datagram[..4]);
    }
    let Ok(message) = Message::parse(datagram) else {
        return;
    };
    message.verify(&IntegrityKey::new(b"key"));
    message.verify(&IntegrityKey::sha256(b"key"));
    let kind = message.method().with_class(message.class());
    assert_eq!(kind.to_be_bytes(), datagram[..2], "type");
    assert_eq!(message.transaction(), datagram[8..HEADER], "transaction");
    for (attribute, value) in message.attributes() {
        let at = message.offset_of(value);
        assert_eq!(&datagram[at..at + value.len()], value);
        assert!(message.get(attribute).is_some());
        if message.get(attribute) == Some(value) {
            let text = message.text(attribute);
            assert_eq!(text, std::str::from_utf8(value).ok());
        }
        address_survives(value, &message);
    }
    written_again(&message);
    the_stun_crate_agrees(datagram, &message);
}

/// A decoded address is encoded to the same bytes, except for the reserved byte.
fn address_survives(value: &[u8], message: &Message<'_>) {
    let transaction = message.transaction();
    let Some(address) = decode_xor_address(value, &transaction) else {
        return;
    };
    let mut out = [0; MAX_XOR_ADDRESS];
    let len = encode_xor_address(address, &transaction, &mut out);
    assert_eq!(out[1..len], value[1..]);
}

/// The attributes are the same after writing and signing them and reading them again.
fn written_again(message: &Message<'_>) {
    let key = match message.integrity() {
        Some(Integrity::Sha256) => IntegrityKey::sha256(b"key"),
        _ => IntegrityKey::new(b"key"),
    };
    let mut out = Vec::new();
    let (method, class) = (message.method(), message.class());
    let mut writer = Writer::new(&mut out, method, class, message.transaction());
    let mut length = 0;
    for (attribute, value) in message.attributes() {
        length += 4 + value.len().next_multiple_of(4);
        writer = writer.attribute(attribute, value);
    }
    writer.integrity(&key).fingerprint();
    if length + 44 > usize::from(u16::MAX) {
        return; // With a signature it exceeds the maximum length of a message.
    }
    let again = Message::parse(&out).expect("what the writer writes can be read");
    assert!(again.verify(&key));
    assert!(again.attributes().eq(message.attributes()));
}

/// The `stun` crate accepts every message that parlor accepts, with the same attributes.
fn the_stun_crate_agrees(datagram: &[u8], message: &Message<'_>) {
    let mut theirs = ::stun::message::Message::new();
    theirs
        .unmarshal_binary(datagram)
        .expect("the stun crate reads what we read");
    assert_eq!(theirs.transaction_id.0, message.transaction());
    let mut read = theirs.attributes.0.iter();
    for (attribute, value) in message.attributes() {
        let other = read.next().expect("an attribute that the stun crate sees");
        // The crate treats 0x8020 as 0x0020, for clients of a draft.
        if attribute != Attribute(0x8020) {
            assert_eq!(other.typ.value(), attribute.0);
        }
        assert_eq!(other.value, value);
        same_address(&theirs, message, attribute, value);
    }
}

fn same_address(
    theirs: &::stun::message::Message,
    message: &Message<'_>,
    attribute: Attribute,
    value: &[u8],
) {
    if message.get(attribute) != Some(value) || attribute == Attribute(0x8020) {
        return;
    }
    let Some(address) = decode_xor_address(value, &message.transaction()) else {
        return;
    };
    let mut mapped = ::stun::xoraddr::XorMappedAddress::default();
    let kind = ::stun::attributes::AttrType(attribute.0);
    if mapped.get_from_as(theirs, kind).is_ok() {
        let IpAddr::V6(_) = mapped.ip else {
            return assert_eq!(SocketAddr::new(mapped.ip, mapped.port), address);
        };
        // The crate formats mapped addresses differently; their bytes are equal.
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), address);
    }
}
