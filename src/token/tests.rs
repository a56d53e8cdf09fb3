//! Accepted and rejected tokens; no input panics.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use proptest::prelude::*;
use ring::hmac;
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OLD: &str = "an older secret that has at least 32 bytes";
const NOW: u64 = 1_700_000_000;

fn auth() -> config::Auth {
    config::Auth {
        previous_secrets: vec![Secret::new(OLD)],
        ..config::Auth::default()
    }
}

fn tokens() -> Tokens {
    Tokens::new(&auth(), &Secret::new(SECRET))
}

/// A token made by hand, so that the checker is not tested with its own signer alone.
fn forge(header: Value, claims: Value, algorithm: hmac::Algorithm, secret: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = hmac::Key::new(algorithm, secret.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hs256(claims: Value) -> String {
    forge(
        json!({"alg": "HS256", "typ": "JWT"}),
        claims,
        hmac::HMAC_SHA256,
        SECRET,
    )
}

fn check(claims: Value) -> Result<Claims, TokenError> {
    tokens().check(&hs256(claims), NOW)
}

#[test]
fn the_example_of_rfc_7515_is_verified() {
    // Appendix A.1: an HS256 signature over a payload that is no token of ours.
    let key = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
        .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    provider::install();
    let verify = |signature: &str| {
        let key = DecodingKey::from_secret(&key);
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, Algorithm::HS256)
    };
    assert!(verify(signature).unwrap());
    assert!(!verify(&signature.replace('d', "e")).unwrap());
}

#[test]
fn a_token_of_another_issuer_with_the_shared_secret_is_accepted() {
    let claims = check(json!({
        "sub": "alice", "exp": NOW + 1, "nbf": NOW, "iss": "somebody", "aud": ["a", "b"],
        "name": "Alice", "rooms": ["r1"], "role": {"odd": true}, "custom": 1,
    }))
    .unwrap();
    assert_eq!((claims.sub.as_str(), claims.exp), ("alice", NOW + 1));
    assert_eq!(claims.name.as_deref(), Some("Alice"));
    assert_eq!(claims.role, None);
    assert!(claims.allows_room("r1") && claims.lists_room("r1"));
    assert!(!claims.allows_room("r2"));
}

#[test]
fn a_token_without_rooms_allows_every_room_and_names_none() {
    let claims = check(json!({"sub": "alice", "exp": NOW + 1})).unwrap();
    assert!(claims.allows_room("r1") && !claims.lists_room("r1"));
}

#[test]
fn an_issued_token_is_accepted_until_the_second_it_expires() {
    for algorithm in [
        config::Algorithm::HS256,
        config::Algorithm::HS384,
        config::Algorithm::HS512,
    ] {
        let auth = config::Auth {
            algorithm,
            ..auth()
        };
        let tokens = Tokens::new(&auth, &Secret::new(SECRET));
        let claims = Claims {
            sub: "alice".into(),
            exp: NOW + 10,
            own: true,
            ..Claims::default()
        };
        let token = tokens.issue(&claims);
        assert_eq!(tokens.check(&token, NOW + 9), Ok(claims));
        assert_eq!(tokens.check(&token, NOW + 10), Err(TokenError::Expired));
    }
}

#[test]
fn times_are_checked_without_leeway_by_default() {
    let at = |exp: Value, nbf: Value| check(json!({"sub": "a", "exp": exp, "nbf": nbf})).err();
    assert_eq!(at(json!(NOW), json!(0)), Some(TokenError::Expired));
    assert_eq!(
        at(json!(NOW + 1), json!(NOW + 1)),
        Some(TokenError::NotYetValid)
    );
    assert_eq!(at(json!(NOW as f64 + 0.5), json!(NOW)), None);
    assert_eq!(at(json!(NOW + 1), Value::Null), None);
    assert_eq!(at(Value::Null, Value::Null), Some(TokenError::NoExpiry));
    assert_eq!(at(json!("2030"), Value::Null), Some(TokenError::BadClaims));
    assert_eq!(at(json!(-5), Value::Null), Some(TokenError::Expired));
}

#[test]
fn a_leeway_extends_the_validity_of_tokens_of_other_issuers_at_both_ends() {
    let auth = config::Auth {
        leeway: Duration::from_secs(30),
        ..config::Auth::default()
    };
    let tokens = Tokens::new(&auth, &Secret::new(SECRET));
    let foreign = hs256(json!({"sub": "a", "exp": NOW + 10, "nbf": NOW}));
    let at = |unix| tokens.check(&foreign, unix).map(|claims| claims.exp);
    assert_eq!(at(NOW - 31), Err(TokenError::NotYetValid));
    assert_eq!(at(NOW - 30), Ok(NOW + 40));
    assert_eq!(at(NOW + 39), Ok(NOW + 40));
    assert_eq!(at(NOW + 40), Err(TokenError::Expired));

    let own = tokens.issue(&Claims {
        sub: "a".into(),
        exp: NOW + 10,
        own: true,
        ..Claims::default()
    });
    assert_eq!(tokens.check(&own, NOW + 10), Err(TokenError::Expired));
}

#[test]
fn an_expiry_after_the_year_9999_counts_as_its_last_second() {
    for exp in [json!(u64::MAX), json!(1e300), json!(MAX_UNIX_SECONDS + 1)] {
        let claims = check(json!({"sub": "a", "exp": exp})).unwrap();
        assert_eq!(claims.exp, MAX_UNIX_SECONDS);
    }
}

#[test]
fn a_subject_must_be_an_id() {
    let long = "x".repeat(256);
    for sub in [
        json!(""),
        json!("."),
        json!(".."),
        json!("a\n"),
        json!("a%b"),
        json!("a b"),
        json!("a/b"),
        json!("ü"),
        json!(7),
        Value::Null,
        json!(long),
    ] {
        let refused = check(json!({"sub": sub, "exp": NOW + 1}));
        assert_eq!(refused, Err(TokenError::BadSubject), "{sub}");
    }
    assert_eq!(check(json!({"exp": NOW + 1})), Err(TokenError::BadSubject));
    for sub in [
        "a.b_c~d-9",
        "...",
        "alice@example.org",
        "auth0|507f1f77bcf86cd799439011",
        "google-oauth2|1:2+3=4",
        &long[1..],
    ] {
        let claims = check(json!({"sub": sub, "exp": NOW + 1})).expect(sub);
        assert_eq!(claims.sub, sub);
    }
}

#[test]
fn only_the_configured_algorithm_is_accepted() {
    let claims = json!({"sub": "a", "exp": NOW + 1});
    for alg in ["none", "None", "HS384", "RS256", "hs256", ""] {
        let token = forge(
            json!({"alg": alg}),
            claims.clone(),
            hmac::HMAC_SHA256,
            SECRET,
        );
        assert_eq!(
            tokens().check(&token, NOW),
            Err(TokenError::WrongAlgorithm),
            "{alg}"
        );
    }
    let signed = hs256(claims);
    let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
    assert_eq!(
        tokens().check(&unsigned, NOW),
        Err(TokenError::BadSignature)
    );
}

#[test]
fn a_previous_secret_still_verifies_and_an_unknown_one_does_not() {
    let with = |header: Value, secret: &str| {
        let claims = json!({"sub": "a", "exp": NOW + 1});
        tokens().check(&forge(header, claims, hmac::HMAC_SHA256, secret), NOW)
    };
    let own = tokens().pinned.first_id();
    assert!(with(json!({"alg": "HS256"}), OLD).is_ok());
    assert!(with(json!({"alg": "HS256", "kid": "theirs"}), OLD).is_ok());
    assert!(with(json!({"alg": "HS256", "kid": own}), SECRET).is_ok());
    let wrong_kid = with(json!({"alg": "HS256", "kid": own}), OLD);
    assert_eq!(wrong_kid, Err(TokenError::BadSignature));
    let stranger = with(
        json!({"alg": "HS256"}),
        "a secret nobody configured, 32 bytes",
    );
    assert_eq!(stranger, Err(TokenError::BadSignature));
}

#[test]
fn critical_extensions_are_rejected() {
    let header = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    let token = forge(
        header,
        json!({"sub": "a", "exp": NOW + 1}),
        hmac::HMAC_SHA256,
        SECRET,
    );
    assert_eq!(
        tokens().check(&token, NOW),
        Err(TokenError::UnknownExtension)
    );
}

#[test]
fn issuer_and_audience_count_when_they_are_configured() {
    let auth = config::Auth {
        issuer: Some("us".into()),
        audience: Some("parlor".into()),
        ..auth()
    };
    let tokens = Tokens::new(&auth, &Secret::new(SECRET));
    let with = |iss: Value, aud: Value| {
        let claims = json!({"sub": "a", "exp": NOW + 1, "iss": iss, "aud": aud});
        tokens.check(&hs256(claims), NOW).err()
    };
    assert_eq!(with(json!("us"), json!("parlor")), None);
    assert_eq!(with(json!("us"), json!(["x", "parlor"])), None);
    assert_eq!(
        with(json!("them"), json!("parlor")),
        Some(TokenError::WrongIssuer)
    );
    assert_eq!(
        with(Value::Null, json!("parlor")),
        Some(TokenError::WrongIssuer)
    );
    assert_eq!(
        with(json!("us"), json!(["x"])),
        Some(TokenError::WrongAudience)
    );
    assert_eq!(
        with(json!("us"), Value::Null),
        Some(TokenError::WrongAudience)
    );
    let own = Claims {
        sub: "a".into(),
        exp: NOW + 1,
        ..Claims::default()
    };
    assert!(tokens.check(&tokens.issue(&own), NOW).is_ok());
}

#[test]
fn a_duplicate_claim_is_rejected() {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"sub":"alice","sub":"bob","exp":{}}}"#, NOW + 1);
    let signed = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(&claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    let refused = tokens().check(&format!("{signed}.{signature}"), NOW);
    assert_eq!(refused, Err(TokenError::BadClaims));
}

#[test]
fn each_error_names_the_fault_of_the_token() {
    let refused = |token: &str| tokens().check(token, NOW).unwrap_err();
    let long = hs256(json!({"sub": "alice", "exp": NOW + 1, "name": "x".repeat(8 * 1024)}));
    assert_eq!(refused(&long), TokenError::TooLong);
    assert!(
        TokenError::TooLong
            .to_string()
            .contains("longer than 8 KiB")
    );
    assert_eq!(
        refused("eyJhbGciOiJkaXIifQ..iv.text.tag"),
        TokenError::Encrypted
    );
    assert_eq!(refused("no token"), TokenError::Malformed);
    let rooms = hs256(json!({"sub": "alice", "exp": NOW + 1, "rooms": "lobby"}));
    assert_eq!(refused(&rooms), TokenError::BadClaims);
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(token in ".{0,200}") {
        prop_assert!(tokens().check(&token, NOW).is_err());
    }

    #[test]
    fn no_signed_payload_makes_the_check_panic(payload in any::<Vec<u8>>(), unix in any::<u64>()) {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
        let _ = tokens().check(&format!("{signed}.{signature}"), unix);
    }

    #[test]
    fn no_number_in_a_claim_makes_the_check_panic(exp in any::<f64>(), nbf in any::<i64>()) {
        let _ = check(json!({"sub": "a", "exp": exp, "nbf": nbf}));
    }

    #[test]
    fn a_token_with_one_changed_character_is_rejected(at in any::<prop::sample::Index>()) {
        let token = hs256(json!({"sub": "alice", "exp": NOW + 1}));
        let at = at.index(token.len());
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        prop_assert!(tokens().check(&changed, NOW).is_err());
    }
}
