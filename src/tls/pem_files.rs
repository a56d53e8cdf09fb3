//! Reads an identity from PEM files (RFC 7468), and reports everything that is wrong with them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey};
use zeroize::Zeroizing;

use crate::der::{self, INTEGER, OCTET_STRING, SEQUENCE};
use crate::text_file::{self, TextFileError};

use super::{Identity, Validity, provider, validity};

/// The largest accepted file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The longest accepted chain: each handshake sends it.
const MAX_CHAIN_LENGTH: usize = 16;

/// Certificates, and the validity of the first.
type Chain = (Vec<CertificateDer<'static>>, Validity);

/// A signing key, and its DER form.
type Key = (Arc<dyn SigningKey>, PrivateKeyDer<'static>);

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PemFile {
    Certificate,
    Key,
}

impl PemFile {
    fn error(self) -> impl Fn(String) -> PemFileError {
        move |text| PemFileError { file: self, text }
    }
}

/// An error of a file, as the end of a sentence that begins with its name: `does not exist`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PemFileError {
    pub file: PemFile,
    text: String,
}

/// Reads a certificate chain (the server's certificate first) and its key. Both may be in one file.
///
/// # Errors
/// All errors of both files, or that certificate and key do not match.
pub fn read(certificate: &Path, key: &Path) -> Result<Identity, Vec<PemFileError>> {
    let chain = contents(certificate).and_then(|text| chain(&text));
    let signing = contents(key).and_then(|text| private_key(&text, key));
    let chain = chain.map_err(PemFile::Certificate.error());
    let signing = signing.map_err(PemFile::Key.error());
    let (chain, signing) = match (chain, signing) {
        (Ok(chain), Ok(signing)) => (chain, signing),
        (chain, signing) => return Err(chain.err().into_iter().chain(signing.err()).collect()),
    };
    pair(chain, signing).ok_or_else(|| {
        let text = format!(
            "holds another key than that of the first certificate in {} (tls.cert_file), where \
             the server's own must stand before those of its issuers",
            certificate.display()
        );
        vec![PemFile::Key.error()(text)]
    })
}

/// Parses a certificate chain and its key from one PEM text.
///
/// # Errors
/// The error, as the end of a sentence that begins with the file's name.
pub fn parse(pem: &str) -> Result<Identity, String> {
    let chain = chain(pem)?;
    let identity = pair(chain, private_key(pem, Path::new("FILE"))?);
    identity.ok_or_else(|| "holds a key of another certificate".to_owned())
}

/// Combines a chain with its key; `None` if they do not match.
fn pair((chain, validity): Chain, (signing, secret): Key) -> Option<Identity> {
    let mut digest = Context::new(&SHA256);
    chain.iter().for_each(|one| digest.update(one));
    digest.update(secret.secret_der());
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().ok()?;
    Some(Identity {
        certified: Arc::new(certified),
        digest: digest.finish(),
        validity,
    })
}

fn chain(text: &str) -> Result<Chain, String> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes());
    let chain: Result<Vec<_>, pem::Error> = found.take(MAX_CHAIN_LENGTH + 1).collect();
    let chain = chain.map_err(|error| format!("is no valid PEM: {error}"))?;
    let Some(first) = chain.first() else {
        return Err("holds no certificate: one begins with -----BEGIN CERTIFICATE-----".to_owned());
    };
    if chain.len() > MAX_CHAIN_LENGTH {
        return Err(format!(
            "holds more than {MAX_CHAIN_LENGTH} certificates: it must hold the server's own and those that \
             lead to it, not all of a system's"
        ));
    }
    let validity = validity::of(first).ok_or("begins with a certificate that can't be read")?;
    if let Some(old @ 1..=2) = validity::version(first) {
        return Err(format!(
            "begins with a certificate of X.509 version {old}, which browsers refuse: it must be \
             of version 3, with its names as alternative names (`-extfile` or `-addext` of openssl)"
        ));
    }
    ParsedCertificate::try_from(first)
        .map_err(|error| format!("begins with a certificate that can't be read: {error}"))?;
    Ok((chain, validity))
}

fn private_key(text: &str, path: &Path) -> Result<Key, String> {
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound if text.contains("BEGIN ENCRYPTED PRIVATE KEY") => format!(
            "holds a key behind a passphrase, which the server cannot ask for: \
             `openssl pkey -in {} -out FILE` writes it without",
            path.display()
        ),
        pem::Error::NoItemsFound => {
            "holds no private key: it must have -----BEGIN PRIVATE KEY----- in it".to_owned()
        }
        error => format!("is no valid PEM: {error}"),
    })?;
    let signing = provider().key_provider.load_private_key(key.clone_key());
    let signing = signing.map_err(|_| unsupported_key(&key))?;
    Ok((signing, key))
}

/// The error for a key that ring does not support.
fn unsupported_key(key: &PrivateKeyDer<'_>) -> String {
    let held = match rsa_bits(key) {
        Some(bits) => format!("an RSA key of {bits} bits"),
        None => "a key".to_owned(),
    };
    format!(
        "holds {held} that TLS can't be spoken with here: it must be RSA with 2048 to 4096 bits, \
         EC on P-256 or P-384, or Ed25519"
    )
}

/// The size of an RSA key: the bits of its modulus (RFC 8017 appendix A.1.2), inside PKCS#8 (RFC 5958).
fn rsa_bits(key: &PrivateKeyDer<'_>) -> Option<usize> {
    let der = key.secret_der();
    let (wrapped, _) = der::element(der, SEQUENCE)?;
    let (_version, rest) = der::element(wrapped, INTEGER)?;
    let rsa = match der::element(rest, SEQUENCE) {
        Some((_algorithm, rest)) => der::element(rest, OCTET_STRING)?.0,
        None => der,
    };
    let (numbers, _) = der::element(rsa, SEQUENCE)?;
    let (_version, rest) = der::element(numbers, INTEGER)?;
    let (modulus, _) = der::element(rest, INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

fn contents(path: &Path) -> Result<Zeroizing<String>, String> {
    text_file::read(path, MAX_FILE_BYTES).map_err(|error| match error {
        TextFileError::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!(
                "{} may not read: let it read the file and pass the directories above it, or \
                 have the renewal tool copy it to a readable directory",
                user()
            )
        }
        TextFileError::NotText => "is not text: it must be PEM, not DER or PKCS#12".to_owned(),
        error => error.to_string(),
    })
}

/// Describes the user of this process.
fn user() -> String {
    let id = nix::unistd::geteuid();
    match nix::unistd::User::from_uid(id) {
        Ok(Some(user)) => format!("the user {} (uid {id}), whom parlor runs as,", user.name),
        _ => format!("the user with uid {id}, whom parlor runs as,"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    use rcgen::{CertificateParams, CertifiedKey as Made, generate_simple_self_signed};

    /// A directory with a certificate for `talk.example.org` and its key.
    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (cert, key) = (place.path().join("cert.pem"), place.path().join("key.pem"));
        let Made {
            cert: made,
            signing_key,
        } = made();
        fs::write(&cert, made.pem()).unwrap();
        fs::write(&key, signing_key.serialize_pem()).unwrap();
        (place, cert, key)
    }

    fn made() -> Made<rcgen::KeyPair> {
        generate_simple_self_signed(["talk.example.org".to_owned()]).unwrap()
    }

    fn errors(cert: &Path, key: &Path) -> Vec<(PemFile, String)> {
        let faults = read(cert, key).unwrap_err().into_iter();
        faults
            .map(|fault| (fault.file, fault.to_string()))
            .collect()
    }

    #[test]
    fn identities_are_equal_if_their_files_are() {
        let (_place, cert, key) = place();
        let first = read(&cert, &key).unwrap();
        assert_eq!(first, read(&cert, &key).unwrap());
        let (_place, cert, key) = self::place();
        assert_ne!(first, read(&cert, &key).unwrap());
    }

    #[test]
    fn certificate_and_key_may_be_in_one_file() {
        let (_place, cert, key) = place();
        let both = fs::read_to_string(&key).unwrap() + &fs::read_to_string(&cert).unwrap();
        fs::write(&cert, both).unwrap();
        assert_eq!(read(&cert, &cert).unwrap(), read(&cert, &key).unwrap());
    }

    #[test]
    fn an_identity_is_valid_for_its_names_and_addresses_alone() {
        let (_place, cert, key) = place();
        let identity = read(&cert, &key).unwrap();
        assert!(identity.is_valid_for("talk.example.org"));
        for other in ["example.org", "192.0.2.1", "[2001:db8::1]", "a b", ""] {
            assert!(!identity.is_valid_for(other), "{other}");
        }
        let signing = rcgen::KeyPair::generate().unwrap();
        let names = [
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
            "*.example.org".to_owned(),
        ];
        let made = CertificateParams::new(names)
            .unwrap()
            .self_signed(&signing)
            .unwrap();
        fs::write(&cert, made.pem()).unwrap();
        fs::write(&key, signing.serialize_pem()).unwrap();
        let identity = read(&cert, &key).unwrap();
        for name in ["127.0.0.1", "[::1]", "::1", "turn.example.org"] {
            assert!(identity.is_valid_for(name), "{name}");
        }
    }

    #[test]
    fn the_errors_of_both_files_are_reported_together() {
        let place = tempfile::tempdir().unwrap();
        let nowhere = place.path().join("nowhere.pem");
        let missing = "does not exist".to_owned();
        assert_eq!(
            errors(&nowhere, &nowhere),
            [
                (PemFile::Certificate, missing.clone()),
                (PemFile::Key, missing)
            ]
        );
    }

    #[test]
    fn a_file_without_a_certificate_or_key_is_reported() {
        let (_place, cert, key) = place();
        // Taken for each other.
        let swapped = errors(&key, &cert);
        assert!(
            swapped[0].1.starts_with("holds no certificate"),
            "{swapped:?}"
        );
        assert!(
            swapped[1].1.starts_with("holds no private key"),
            "{swapped:?}"
        );
        for (content, expected) in [
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "holds a key behind a passphrase",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n",
                "is no valid PEM",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "holds a key that TLS can't be spoken with",
            ),
        ] {
            fs::write(&key, content).unwrap();
            let reported = errors(&cert, &key);
            assert!(reported[0].1.starts_with(expected), "{reported:?}");
        }
        let (_place, cert, key) = self::place();
        fs::write(
            &cert,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert_eq!(
            errors(&cert, &key)[0].1,
            "begins with a certificate that can't be read"
        );
        fs::write(&cert, [0x30, 0x82, 0xff]).unwrap();
        assert!(errors(&cert, &key)[0].1.starts_with("is not text"));
        fs::write(&cert, made().cert.pem().repeat(MAX_CHAIN_LENGTH + 1)).unwrap();
        assert!(
            errors(&cert, &key)[0]
                .1
                .starts_with("holds more than 16 certificates")
        );
    }

    #[test]
    fn an_rsa_key_of_an_unsupported_size_is_reported_with_its_size() {
        let (_place, cert, key) = place();
        // In an RSA private key the modulus follows the version; the other numbers don't matter here.
        let number = |size: usize, first: u8| {
            let body = [&[0, first][..], &vec![0xff; size - 1]].concat();
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            [&[INTEGER, 0x82][..], &length, &body].concat()
        };
        for (bits, first) in [(1024, 0xff), (8192, 0xff), (4097, 1)] {
            let body = [&[INTEGER, 1, 0][..], &number(bits / 8 + bits % 8, first)].concat();
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            let der = [&[SEQUENCE, 0x82][..], &length, &body].concat();
            let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
            let pem =
                format!("-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----\n");
            fs::write(&key, pem).unwrap();
            let reported = errors(&cert, &key);
            let expected = format!("holds an RSA key of {bits} bits that TLS can't be spoken with");
            assert!(reported[0].1.starts_with(&expected), "{reported:?}");
            assert!(
                reported[0].1.contains("RSA with 2048 to 4096 bits"),
                "{reported:?}"
            );
        }
    }

    #[test]
    fn a_certificate_of_version_1_is_reported_as_such() {
        let (_place, cert, key) = place();
        let made = made();
        // The version is the first field: without it, a certificate has version 1.
        let der = made.cert.der();
        let (certificate, _) = der::element(der, SEQUENCE).unwrap();
        let (signed, rest) = der::element(certificate, SEQUENCE).unwrap();
        let wrap = |parts: &[&[u8]]| {
            let body = parts.concat();
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            [&[SEQUENCE, 0x82][..], &length, &body].concat()
        };
        let first = wrap(&[&wrap(&[&signed[5..]]), rest]);
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, first);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        fs::write(&cert, pem).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let reported = errors(&cert, &key);
        assert!(reported[0].1.contains("X.509 version 1"), "{reported:?}");
    }

    #[test]
    fn a_key_of_another_certificate_is_rejected() {
        let (_place, cert, key) = place();
        fs::write(&key, made().signing_key.serialize_pem()).unwrap();
        let reported = errors(&cert, &key);
        assert_eq!(reported[0].0, PemFile::Key);
        assert!(
            reported[0]
                .1
                .contains("holds another key than that of the first certificate")
        );
        assert!(
            reported[0].1.contains(&cert.display().to_string()),
            "{reported:?}"
        );
    }
}
