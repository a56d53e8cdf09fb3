//! The cryptography of `jsonwebtoken`, on ring.
//!
//! An algorithm and a key of different families are rejected here: no header of a token makes a public
//! key an HMAC secret.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::{hmac, signature};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the process's provider. Without one, `jsonwebtoken` panics at its first use: call this
/// before verifying or signing. Idempotent.
pub(super) fn install() {
    let _ = RING.install_default();
}

struct Hmac {
    algorithm: Algorithm,
    key: hmac::Key,
}

/// A public key and its verification algorithm.
struct Public {
    algorithm: Algorithm,
    key: DecodingKey,
    check: Check,
}

#[derive(Clone, Copy)]
enum Check {
    Rsa(&'static signature::RsaParameters),
    Curve(&'static dyn signature::VerificationAlgorithm),
}

impl Hmac {
    fn new(algorithm: Algorithm, family: AlgorithmFamily, secret: &[u8]) -> Result<Hmac> {
        if family != AlgorithmFamily::Hmac {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let digest = match algorithm {
            Algorithm::HS256 => hmac::HMAC_SHA256,
            Algorithm::HS384 => hmac::HMAC_SHA384,
            Algorithm::HS512 => hmac::HMAC_SHA512,
            _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
        };
        Ok(Hmac {
            algorithm,
            key: hmac::Key::new(digest, secret),
        })
    }
}

impl Public {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Public> {
        let (family, check) = match algorithm {
            Algorithm::RS256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            // RFC 7518 §3.4: both numbers, one after the other.
            Algorithm::ES256 => (
                AlgorithmFamily::Ec,
                Check::Curve(&signature::ECDSA_P256_SHA256_FIXED),
            ),
            Algorithm::ES384 => (
                AlgorithmFamily::Ec,
                Check::Curve(&signature::ECDSA_P384_SHA384_FIXED),
            ),
            Algorithm::EdDSA => (AlgorithmFamily::Ed, Check::Curve(&signature::ED25519)),
            _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
        };
        if key.family() != family {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        Ok(Public {
            algorithm,
            key: key.clone(),
            check,
        })
    }
}

fn rsa(parameters: &'static signature::RsaParameters) -> (AlgorithmFamily, Check) {
    (AlgorithmFamily::Rsa, Check::Rsa(parameters))
}

/// parlor signs with HMAC secrets only.
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let hmac = Hmac::new(*algorithm, key.family(), key.as_bytes())?;
    Ok(Box::new(hmac))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            let hmac = Hmac::new(*algorithm, key.family(), key.try_get_as_bytes()?)?;
            Ok(Box::new(hmac))
        }
        _ => Ok(Box::new(Public::new(*algorithm, key)?)),
    }
}

impl Signer<Vec<u8>> for Hmac {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(hmac::sign(&self.key, message).as_ref().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hmac {
    /// In constant time.
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        hmac::verify(&self.key, message, signature).map_err(|_| Error::new())
    }
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (self.check, self.key.kind()) {
            (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = signature::RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature)
            }
            (Check::Curve(algorithm), DecodingKeyKind::SecretOrDer(point)) => {
                signature::UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
            _ => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtSigner for Hmac {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl JwtVerifier for Hmac {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
