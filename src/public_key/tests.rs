//! Accepted public keys; no input panics.

use proptest::prelude::*;

use super::*;

/// RFC 8410 §10.1.
const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";

#[test]
fn a_file_may_contain_several_keys_and_remarks() {
    let keys = parse_pem(&format!("the first\n{ED25519}the second\n{ED25519}")).unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0].kind(), Kind::Ed25519);
    assert!(parse_pem(&ED25519.repeat(MAX_KEYS)).is_ok());
    assert!(parse_pem(&ED25519.repeat(MAX_KEYS + 1)).is_err());
}

#[test]
fn a_truncated_key_is_rejected() {
    let body = |pem: &str| -> String { pem.lines().filter(|l| !l.starts_with('-')).collect() };
    let der = STANDARD.decode(body(ED25519)).unwrap();
    assert!(der::subject_public_key(&der).is_ok());
    for end in 0..der.len() {
        assert!(der::subject_public_key(&der[..end]).is_err(), "{end}");
    }
}

#[test]
fn an_rsa_key_has_2048_bits_at_least() {
    assert!(Material::rsa(&[1; 256], &[1, 0, 1]).is_ok());
    assert!(Material::rsa(&[1; 128], &[1, 0, 1]).is_err());
    // DER puts a zero in front of a number whose first bit is set.
    assert!(Material::rsa(&[&[0][..], &[255; 128]].concat(), &[1, 0, 1]).is_err());
}

#[test]
fn a_public_key_in_place_of_a_secret_is_recognised() {
    for public in [ED25519, "{\"keys\": []}", "{\"kty\": \"RSA\"}"] {
        assert!(is_public(public), "{public}");
    }
    for secret in ["0123456789abcdef0123456789abcdef", "{}", "", "{\"a\": 1}"] {
        assert!(!is_public(secret), "{secret}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_the_reader(der in any::<Vec<u8>>()) {
        let _ = der::subject_public_key(&der);
        let _ = der::rsa_public_key(&der);
    }

    #[test]
    fn no_text_panics_the_readers(text in ".*", inner in "[A-Za-z0-9+/=\n]{0,80}") {
        let _ = parse_pem(&text);
        let _ = parse_pem(&format!("-----BEGIN PUBLIC KEY-----{inner}-----END PUBLIC KEY-----"));
        let _ = jwks::parse(&text, Kind::P256, "ES256");
    }
}
