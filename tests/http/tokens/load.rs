//! Files of keys that can't be used: exit code 2, and one sentence that names key and file.

use std::fs;
use std::path::Path;

use super::*;
use crate::support::command::Cli;

/// Returns the error of a start with this file under this key.
fn start_error(algorithm: &str, key: &str, text: &str) -> String {
    let cli = Cli::new();
    let path = cli.place().join("keys");
    fs::write(&path, text).unwrap();
    start_error_of(cli, algorithm, key, &path)
}

fn start_error_of(cli: Cli, algorithm: &str, key: &str, path: &Path) -> String {
    let path = path.to_str().unwrap();
    let variable = format!("PARLOR_AUTH__{}", key.to_uppercase());
    let cli = cli
        .env("PARLOR_AUTH__ALGORITHM", algorithm)
        .env(&variable, path);
    let sentence = format!("{variable} names {path}");
    for command in [&["serve"][..], &["user", "list"]] {
        cli.misused(command, &sentence);
    }
    let stderr = cli.run(&["serve"]).stderr;
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_missing_file_is_reported_with_its_path() {
    for key in ["public_key_file", "jwks_file"] {
        let cli = Cli::new();
        let path = cli.place().join("absent");
        let message = start_error_of(cli, "RS256", key, &path);
        assert!(message.contains("does not exist"), "{message}");
    }
}

#[test]
fn a_file_without_a_public_key_in_pem_is_rejected_with_the_command_to_extract_one() {
    let issuer = Issuer::of("RS256");
    let private = read(&issuer.private_pem());
    let pem = read(&issuer.pem());
    let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (text, expected) in [
        ("", "is not a public key in PEM"),
        ("hello", "is not a public key in PEM"),
        (&pem[..pem.len() / 2], "is not a public key in PEM"),
        (&private, "openssl pkey -pubout"),
        (certificate, "openssl x509 -pubkey -noout"),
    ] {
        let message = start_error("RS256", "public_key_file", text);
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("MII"), "{message}");
    }
}

#[test]
fn a_key_of_another_kind_than_the_algorithm_needs_is_rejected() {
    let rsa = read(&Issuer::of("RS256").pem());
    let p256 = read(&Issuer::of("ES256").pem());
    for (algorithm, pem, expected) in [
        ("ES256", &rsa, "holds an RSA key, not an EC key on P-256"),
        (
            "ES384",
            &p256,
            "holds an EC key on P-256, not an EC key on P-384",
        ),
        ("PS512", &p256, "holds an EC key on P-256, not an RSA key"),
        ("EdDSA", &rsa, "holds an RSA key, not an Ed25519 key"),
    ] {
        let message = start_error(algorithm, "public_key_file", pem);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn secrets_in_a_jwks_are_rejected_and_never_printed() {
    let issuer = Issuer::of("ES256");
    let secret = json!({"kty": "oct", "kid": "shared", "k": encode(SECRET.as_bytes())});
    let mut private = issuer.jwk("mine");
    private["d"] = json!(encode(SECRET.as_bytes()));
    for (key, expected) in [(secret, "shared secret"), (private, "is private")] {
        let set = json!({"keys": [issuer.jwk("a"), key]}).to_string();
        let message = start_error("ES256", "jwks_file", &set);
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(&encode(SECRET.as_bytes())), "{message}");
    }
}

#[test]
fn a_jwks_without_a_key_for_the_algorithm_is_rejected() {
    let issuer = Issuer::of("ES256");
    let mut encrypting = issuer.jwk("a");
    encrypting["use"] = json!("enc");
    let mut other = issuer.jwk("a");
    other["alg"] = json!("ES384");
    for keys in [json!([]), json!([encrypting]), json!([other])] {
        let message = start_error("ES256", "jwks_file", &json!({ "keys": keys }).to_string());
        assert!(message.contains("holds no key for ES256"), "{message}");
    }
    for text in ["", "[]", "{}", "{\"keys\": [1]}"] {
        let message = start_error("ES256", "jwks_file", text);
        assert!(message.contains("is not a JWKS"), "{message}");
    }
    let mut broken = issuer.jwk("a");
    broken["x"] = json!("AA");
    let message = start_error("ES256", "jwks_file", &json!({"keys": [broken]}).to_string());
    assert!(message.contains("the key \"a\""), "{message}");
}

#[test]
fn an_algorithm_and_its_keys_must_be_set_together() {
    let alone = Cli::new().env("ALGORITHM", "RS256");
    alone.misused(
        &["serve"],
        "ALGORITHM is RS256, which takes an RSA key: name its file in auth.public_key_file",
    );
    let message = start_error("HS256", "public_key_file", "any text");
    assert!(message.contains("auth.algorithm is HS256"), "{message}");
}

#[test]
fn a_public_key_as_a_shared_secret_is_rejected() {
    let issuer = Issuer::of("RS256");
    let jwks = json!({"keys": [issuer.jwk("a")]}).to_string();
    for secret in [read(&issuer.pem()), jwks] {
        let cli = Cli::new().env("SECRET_KEY", &secret);
        cli.misused(&["serve"], "SECRET_KEY is a public key");
    }
}
