//! Tests of the codec with the vectors of RFC 5769, with the `stun` crate and with arbitrary bytes.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::credential::{long_term_key, long_term_key_sha256};

/// RFC 5769 section 2.1: a request with short-term credentials and FINGERPRINT.
const RFC5769_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420\
    636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";

/// RFC 5769 section 2.2: the response over IPv4, and section 2.3: over IPv6.
const RFC5769_IPV4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
const RFC5769_IPV6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275\
    bfe3ed4180280004c8fb0b4c";

/// RFC 5769 section 2.4: a request with long-term credentials.
const RFC5769_LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae3\
    8383e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014\
    000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

/// RFC 8489 appendix B.1, with the corrections of verified erratum 6268 (the length,
/// PASSWORD-ALGORITHM and the HMAC): a request with USERHASH and MESSAGE-INTEGRITY-SHA256.
const RFC8489_REQUEST: &str = "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952\
    c6780417da0f24819415569e60b205c46e41407f170400150029\
    6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39465354767936347341000000\
    0014000b6578616d706c652e6f726700001d000400020000001c0020\
    b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

/// The user of both long-term vectors, the password after OpaqueString.
const MATRIX: (&str, &str, &str) = ("マトリックス", "example.org", "TheMatrIX");

fn short_term() -> IntegrityKey {
    IntegrityKey::new(b"VOkJxbRl1RmTxUk/WvJxBt")
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    let digits = (0..hex.len()).step_by(2);
    digits
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

#[test]
fn the_request_of_rfc_5769_is_read_and_its_integrity_holds() {
    let bytes = bytes(RFC5769_REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Request, Method::BINDING)
    );
    assert_eq!(message.text(Attribute::USERNAME), Some("evtj:h6vY"));
    assert!(message.verify(&short_term()));
    assert!(!message.verify(&IntegrityKey::new(b"another")));
}

#[test]
fn the_responses_of_rfc_5769_have_their_addresses() {
    for (hex, address) in [
        (RFC5769_IPV4, "192.0.2.1:32853"),
        (RFC5769_IPV6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let bytes = bytes(hex);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
        let value = message.get(Attribute::XOR_MAPPED_ADDRESS).unwrap();
        let read = decode_xor_address(value, &message.transaction());
        assert_eq!(read, Some(address.parse().unwrap()));
        assert!(message.verify(&short_term()));
    }
}

#[test]
fn the_long_term_request_of_rfc_5769_is_read_and_written() {
    let bytes = bytes(RFC5769_LONG_TERM);
    let (user, realm, password) = MATRIX;
    let key = IntegrityKey::new(&long_term_key(user, realm, password));
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.text(Attribute::USERNAME), Some(user));
    assert_eq!(message.integrity(), Some(Integrity::Sha1));
    assert!(message.verify(&key));
    let mut out = Vec::new();
    let id = message.transaction();
    let _ = Writer::new(&mut out, Method::BINDING, Class::Request, id)
        .attribute(Attribute::USERNAME, user.as_bytes())
        .attribute(Attribute::NONCE, b"f//499k954d6OL34oL9FSTvy64sA")
        .attribute(Attribute::REALM, realm.as_bytes())
        .integrity(&key);
    assert_eq!(out, bytes);
}

#[test]
fn the_request_of_rfc_8489_is_read_and_written() {
    let bytes = bytes(RFC8489_REQUEST);
    let (user, realm, password) = MATRIX;
    let key = IntegrityKey::sha256(&long_term_key_sha256(user, realm, password));
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    assert!(message.verify(&key));
    assert!(!message.verify(&IntegrityKey::sha256(b"another")));
    assert!(!message.verify(&IntegrityKey::new(&long_term_key_sha256(
        user, realm, password
    ))));
    let hash = ring::digest::digest(&ring::digest::SHA256, format!("{user}:{realm}").as_bytes());
    assert_eq!(message.get(Attribute::USERHASH), Some(hash.as_ref()));
    let mut out = Vec::new();
    let id = message.transaction();
    let _ = Writer::new(&mut out, Method::BINDING, Class::Request, id)
        .attribute(Attribute::USERHASH, hash.as_ref())
        .attribute(
            Attribute::NONCE,
            b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA",
        )
        .attribute(Attribute::REALM, realm.as_bytes())
        .attribute(Attribute::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
        .integrity(&key);
    assert_eq!(out, bytes);
}

/// Returns the request of RFC 8489 with its integrity truncated to a length.
fn cut(length: usize) -> Vec<u8> {
    let mut bytes = bytes(RFC8489_REQUEST);
    let at = bytes.len() - 32;
    bytes.resize(at + length.next_multiple_of(4), 0);
    bytes[at - 1] = length as u8;
    let total = (bytes.len() - HEADER) as u16;
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes
}

#[test]
fn a_truncated_sha_256_integrity_is_rejected() {
    let (user, realm, password) = MATRIX;
    let key = long_term_key_sha256(user, realm, password);
    let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    for length in [16, 20, 24, 28] {
        // Signed as in section 14.6, for usages that allow truncation.
        let mut bytes = cut(length);
        let at = bytes.len() - length;
        let tag = ring::hmac::sign(&hmac, &bytes[..at - 4]);
        bytes[at..].copy_from_slice(&tag.as_ref()[..length]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.integrity(), Some(Integrity::Sha256));
        assert!(!message.verify(&IntegrityKey::sha256(&key)), "{length}");
    }
    assert!(Message::parse(&cut(32)).is_ok());
    for length in [0, 4, 12, 15, 17, 30, 33, 36] {
        assert_eq!(
            Message::parse(&cut(length)).unwrap_err(),
            Malformed::Attribute,
            "{length}"
        );
    }
}

#[test]
fn each_of_two_integrity_attributes_covers_the_bytes_before_it() {
    let (old, new) = (IntegrityKey::new(b"key"), IntegrityKey::sha256(b"key"));
    let mut out = Vec::new();
    Writer::new(&mut out, Method::ALLOCATE, Class::Request, [7; 12])
        .attribute(Attribute::USERNAME, b"alice")
        .integrity(&old)
        .integrity(&new)
        .fingerprint();
    let message = Message::parse(&out).unwrap();
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    assert!(message.verify(&old) && message.verify(&new));
    out.clear();
    let _ = Writer::new(&mut out, Method::ALLOCATE, Class::Request, [7; 12])
        .integrity(&new)
        .integrity(&old);
    let message = Message::parse(&out).unwrap();
    assert!(
        message.verify(&new) && !message.verify(&old),
        "what follows does not count"
    );
}

#[test]
fn a_changed_byte_breaks_the_fingerprint() {
    let mut bytes = bytes(RFC5769_REQUEST);
    bytes[30] ^= 1;
    assert_eq!(Message::parse(&bytes).unwrap_err(), Malformed::Fingerprint);
}

#[test]
fn attributes_after_the_integrity_are_ignored() {
    for key in [IntegrityKey::new(b"key"), IntegrityKey::sha256(b"key")] {
        let mut out = Vec::new();
        Writer::new(&mut out, Method::ALLOCATE, Class::Request, [7; 12])
            .attribute(Attribute::USERNAME, b"alice")
            .integrity(&key)
            .attribute(Attribute::REALM, b"forged")
            .attribute(Attribute(0x7777), b"unknown")
            .fingerprint();
        let message = Message::parse(&out).unwrap();
        assert!(message.verify(&key));
        assert_eq!(message.text(Attribute::USERNAME), Some("alice"));
        assert_eq!(message.attributes().count(), 1);
    }
}

#[test]
fn an_attribute_that_runs_past_the_end_is_malformed() {
    let mut out = Vec::new();
    Writer::new(&mut out, Method::BINDING, Class::Request, [7; 12])
        .attribute(Attribute::USERNAME, b"abcd");
    out[23] = 200;
    assert_eq!(Message::parse(&out).unwrap_err(), Malformed::Attribute);
}

#[test]
fn channel_numbers_outside_the_range_of_rfc_8656_are_not_channel_data() {
    assert_eq!(ChannelData::parse(&[0x50, 0, 0, 0]), None);
    assert_eq!(ChannelData::parse(&[0x40, 0, 0, 2, 1]), None);
    let data = ChannelData::parse(&[0x4f, 0xff, 0, 1, 9, 0, 0, 0]);
    assert_eq!(
        data,
        Some(ChannelData {
            number: 0x4fff,
            len: 1
        })
    );
}

#[test]
fn the_stun_crate_reads_what_the_writer_writes() {
    use ::stun::attributes::{ATTR_REALM, ATTR_USERNAME};
    use ::stun::{fingerprint::FINGERPRINT, integrity::MessageIntegrity, message::Getter};
    let mut out = Vec::new();
    Writer::new(&mut out, Method::ALLOCATE, Class::Error, [3; 12])
        .attribute(Attribute::USERNAME, b"alice")
        .attribute(Attribute::REALM, b"parlor.example")
        .error_code(437, "Allocation Mismatch")
        .xor_address(
            Attribute::XOR_MAPPED_ADDRESS,
            "[2001:db8::7]:9".parse().unwrap(),
        )
        .integrity(&IntegrityKey::new(b"key"))
        .fingerprint();
    let mut theirs = ::stun::message::Message::new();
    theirs.unmarshal_binary(&out).unwrap();
    assert_eq!(theirs.get(ATTR_USERNAME).unwrap(), b"alice");
    assert_eq!(theirs.get(ATTR_REALM).unwrap(), b"parlor.example");
    FINGERPRINT.check(&theirs).unwrap();
    MessageIntegrity(b"key".to_vec())
        .check(&mut theirs)
        .unwrap();
    let mut error = ::stun::error_code::ErrorCodeAttribute::default();
    error.get_from(&theirs).unwrap();
    assert_eq!(error.code.0, 437);
    let mut mapped = ::stun::xoraddr::XorMappedAddress::default();
    mapped.get_from(&theirs).unwrap();
    assert_eq!(
        (mapped.ip.to_string().as_str(), mapped.port),
        ("2001:db8::7", 9)
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_the_decoder(mut noise in prop::collection::vec(any::<u8>(), 0..200), honest in any::<bool>()) {
        if honest && noise.len() >= HEADER {
            noise.truncate(noise.len() / 4 * 4);
            noise[0] &= 0x3f;
            let length = (noise.len() - HEADER) as u16;
            noise[2..4].copy_from_slice(&length.to_be_bytes());
            noise[4..8].copy_from_slice(&COOKIE);
        }
        if let Ok(message) = Message::parse(&noise) {
            message.verify(&IntegrityKey::new(b"key"));
            message.verify(&IntegrityKey::sha256(b"key"));
            for (_, value) in message.attributes() {
                decode_xor_address(value, &message.transaction());
            }
        }
        ChannelData::parse(&noise);
    }

    #[test]
    fn every_address_survives_encoding(ip in any::<std::net::IpAddr>(), port in any::<u16>(), id in any::<[u8; 12]>()) {
        let address = SocketAddr::new(ip, port);
        let mut out = [0; MAX_XOR_ADDRESS];
        let len = encode_xor_address(address, &id, &mut out);
        prop_assert_eq!(decode_xor_address(&out[..len], &id), Some(address));
    }

    #[test]
    fn methods_and_classes_survive_the_type_field(method in 0u16..0x1000) {
        for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
            let mut out = Vec::new();
            Writer::new(&mut out, Method(method), class, [0; 12]).fingerprint();
            let message = Message::parse(&out).unwrap();
            prop_assert_eq!((message.class(), message.method()), (class, Method(method)));
        }
    }
}
