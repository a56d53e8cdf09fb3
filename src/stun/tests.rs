//! The codec beside RFC 5769's vectors, the `stun` crate and arbitrary bytes.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

/// RFC 5769 section 2.1: a request with SHORT-TERM credentials and FINGERPRINT.
const RFC5769_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420\
    636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";

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
    assert!(message.verify(&IntegrityKey::new(b"VOkJxbRl1RmTxUk/WvJxBt")));
    assert!(!message.verify(&IntegrityKey::new(b"another")));
}

#[test]
fn the_ipv4_answer_of_rfc_5769_names_its_address() {
    let bytes = bytes(
        "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200008\
         0001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96",
    );
    let message = Message::parse(&bytes).unwrap();
    let value = message.get(Attribute::XOR_MAPPED_ADDRESS).unwrap();
    let address = decode_xor_address(value, &message.transaction());
    assert_eq!(address, Some("192.0.2.1:32853".parse().unwrap()));
    assert!(message.verify(&IntegrityKey::new(b"VOkJxbRl1RmTxUk/WvJxBt")));
}

#[test]
fn a_changed_byte_breaks_the_fingerprint() {
    let mut bytes = bytes(RFC5769_REQUEST);
    bytes[30] ^= 1;
    assert_eq!(Message::parse(&bytes).unwrap_err(), Malformed::Fingerprint);
}

#[test]
fn what_follows_the_integrity_attribute_does_not_count() {
    let key = IntegrityKey::new(b"key");
    let mut out = Vec::new();
    Writer::new(&mut out, Method::ALLOCATE, Class::Request, [7; 12])
        .attribute(Attribute::USERNAME, b"alice")
        .integrity(&key)
        .attribute(Attribute::REALM, b"forged");
    let message = Message::parse(&out).unwrap();
    assert!(message.verify(&key));
    assert_eq!(message.text(Attribute::USERNAME), Some("alice"));
    assert_eq!(message.get(Attribute::REALM), None);
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
            for (_, value) in message.attributes() {
                decode_xor_address(value, &message.transaction());
            }
        }
        ChannelData::parse(&noise);
    }

    #[test]
    fn every_address_survives_the_wire(ip in any::<std::net::IpAddr>(), port in any::<u16>(), id in any::<[u8; 12]>()) {
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
