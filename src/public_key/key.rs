//! A public key, its kind, and the fault of a file of keys.

/// RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used"; ring takes none over 8192.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A key that verifies signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The `kid` in a JWKS.
    pub id: Option<String>,
    pub material: Material,
}

/// Numbers are big-endian, without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed: 4, x, y.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The fault of a file, worded as the end of a sentence that names it: `does not exist`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Rsa => "an RSA key",
            Kind::P256 => "an EC key on P-256",
            Kind::P384 => "an EC key on P-384",
            Kind::Ed25519 => "an Ed25519 key",
        }
    }
}

impl PublicKey {
    pub fn kind(&self) -> Kind {
        match self.material {
            Material::Rsa { .. } => Kind::Rsa,
            Material::P256(_) => Kind::P256,
            Material::P384(_) => Kind::P384,
            Material::Ed25519(_) => Kind::Ed25519,
        }
    }
}

impl Material {
    /// An RSA key from its numbers.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Material, KeyError> {
        let (modulus, exponent) = (strip_leading_zeros(modulus), strip_leading_zeros(exponent));
        if !RSA_MODULUS_BYTES.contains(&modulus.len()) {
            let bits = modulus.len() * 8;
            return Err(error(format!(
                "holds an RSA key of {bits} bits: it must have 2048 to 8192"
            )));
        }
        Ok(Material::Rsa {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
        })
    }
}

fn strip_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// A fault of a file.
pub(super) fn error(text: impl Into<String>) -> KeyError {
    KeyError(text.into())
}
