//! A token issuer: keys from openssl, signatures from ring, arbitrary headers.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use ring::{hmac, rsa};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::now;

/// A private key of one kind, and its public half in a file.
pub(super) struct Issuer {
    dir: TempDir,
    key: Private,
}

enum Private {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

impl Issuer {
    /// Creates an issuer with a new key for this algorithm.
    pub(super) fn of(algorithm: &str) -> Issuer {
        let dir = TempDir::new().expect("a temporary directory");
        let der = generate(algorithm, dir.path());
        let key = match algorithm {
            "ES256" => Private::Ec(
                ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &der),
                "P-256",
            ),
            "ES384" => Private::Ec(
                ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &der),
                "P-384",
            ),
            "EdDSA" => Private::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap()),
            _ => Private::Rsa(Box::new(RsaKeyPair::from_pkcs8(&der).unwrap())),
        };
        Issuer { dir, key }
    }

    /// The file of the public key, as openssl writes it.
    pub(super) fn pem(&self) -> PathBuf {
        self.dir.path().join("public.pem")
    }

    pub(super) fn private_pem(&self) -> PathBuf {
        self.dir.path().join("private.pem")
    }

    /// A file with a JWKS of these keys.
    pub(super) fn jwks(&self, keys: &[Value]) -> PathBuf {
        let path = self.dir.path().join("jwks.json");
        std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
        path
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = match &self.key {
            Private::Rsa(pair) => {
                let public = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": encode(&public.n), "e": encode(&public.e)})
            }
            Private::Ec(pair, curve) => {
                let (x, y) = halves(&pair.public_key().as_ref()[1..]);
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Private::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = kid.into();
        jwk
    }

    /// Signs with `algorithm`, independently of the header.
    pub(super) fn sign(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let message = signed.as_bytes();
        let random = SystemRandom::new();
        let signature = match &self.key {
            Private::Rsa(pair) => {
                let mut bytes = vec![0; pair.public().modulus_len()];
                pair.sign(padding(algorithm), &random, message, &mut bytes)
                    .unwrap();
                bytes
            }
            Private::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        };
        format!("{signed}.{}", encode(&signature))
    }

    /// A valid token of `alice`.
    pub(super) fn token(&self, algorithm: &str) -> String {
        self.sign(algorithm, &json!({ "alg": algorithm }), &claims())
    }
}

/// Signs with a shared secret, independently of the header.
pub(crate) fn sign_by_secret(
    secret: &[u8],
    algorithm: &str,
    header: &Value,
    claims: &Value,
) -> String {
    let digest = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let signed = unsigned(header, claims);
    let signature = hmac::sign(&hmac::Key::new(digest, secret), signed.as_bytes());
    format!("{signed}.{}", encode(signature.as_ref()))
}

pub(super) fn claims() -> Value {
    json!({"sub": "alice", "exp": now() + 3600})
}

/// Header and payload, before the second dot.
pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    )
}

fn generate(algorithm: &str, dir: &Path) -> Vec<u8> {
    let options: &[&str] = match algorithm {
        "ES256" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "ES384" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        "EdDSA" => &["-algorithm", "ED25519"],
        _ => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    };
    let openssl = |args: &[&str]| {
        let status = Command::new("openssl")
            .current_dir(dir)
            .args(args)
            .output()
            .expect("openssl, of the Debian package of that name: ./tests/run installs it");
        assert!(status.status.success(), "{args:?}: {status:?}");
    };
    openssl(&[&["genpkey", "-out", "private.pem"], options].concat());
    openssl(&[
        "pkey",
        "-in",
        "private.pem",
        "-pubout",
        "-out",
        "public.pem",
    ]);
    let pkcs8 = ["-topk8", "-nocrypt", "-outform", "DER"];
    openssl(
        &[
            &["pkcs8", "-in", "private.pem", "-out", "private.der"],
            &pkcs8[..],
        ]
        .concat(),
    );
    std::fs::read(dir.join("private.der")).unwrap()
}

fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm, der: &[u8]) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new()).unwrap()
}

fn padding(algorithm: &str) -> &'static dyn signature::RsaEncoding {
    match algorithm {
        "RS256" => &signature::RSA_PKCS1_SHA256,
        "RS384" => &signature::RSA_PKCS1_SHA384,
        "RS512" => &signature::RSA_PKCS1_SHA512,
        "PS256" => &signature::RSA_PSS_SHA256,
        "PS384" => &signature::RSA_PSS_SHA384,
        "PS512" => &signature::RSA_PSS_SHA512,
        other => panic!("{other} is not of RSA"),
    }
}

fn halves(point: &[u8]) -> (&[u8], &[u8]) {
    point.split_at(point.len() / 2)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
