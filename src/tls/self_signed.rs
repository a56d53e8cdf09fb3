//! Generates certificates: self-signed ones, and those of TLS-ALPN-01 challenges (RFC 8737).

use std::sync::Arc;

use ::ring::digest::{SHA256, digest};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::provider;

/// Certificates are valid this much earlier, since clocks differ.
const CLOCK_TOLERANCE: Duration = Duration::hours(1);

/// A certificate could not be generated: an invalid name, or no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("a certificate can't be made: {0}")]
pub struct GenerateError(String);

impl From<rcgen::Error> for GenerateError {
    fn from(error: rcgen::Error) -> GenerateError {
        GenerateError(error.to_string())
    }
}

/// Returns a self-signed certificate for these names and addresses, and its key, in PEM. It is valid for
/// `days` from `now` in Unix seconds.
pub fn self_signed(hosts: &[String], now: u64, days: u16) -> Result<String, GenerateError> {
    let mut params = CertificateParams::new(hosts)?;
    let from = i64::try_from(now).unwrap_or(i64::MAX);
    let from = OffsetDateTime::from_unix_timestamp(from);
    let from = from.map_err(|error| GenerateError(error.to_string()))?;
    params.not_before = from - CLOCK_TOLERANCE;
    params.not_after = from + Duration::days(days.into());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name = DistinguishedName::new();
    let name = hosts.first().map_or("parlor", String::as_str);
    // The upper bound of RFC 5280. Clients check the alternative names instead.
    let name: String = name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

/// Returns the certificate for the TLS-ALPN-01 validation of `domain`.
pub fn challenge(
    domain: &str,
    key_authorization: &str,
) -> Result<Arc<CertifiedKey>, GenerateError> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    let digest = digest(&SHA256, key_authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let key = KeyPair::generate()?;
    let chain = vec![params.self_signed(&key)?.der().clone()];
    // Not parsed as other certificates are: only authorities know its critical extension.
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signing = provider().key_provider.load_private_key(key);
    let signing = signing.map_err(|error| GenerateError(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(chain, signing)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls;

    #[test]
    fn a_self_signed_certificate_is_valid_for_every_host_and_for_the_given_days() {
        let hosts = ["talk.example.org", "localhost", "127.0.0.1", "2001:db8::1"];
        let hosts = hosts.map(str::to_owned);
        let now = 1_800_000_000;
        let identity = tls::parse(&self_signed(&hosts, now, 10).unwrap()).unwrap();
        for host in &hosts {
            assert!(identity.is_valid_for(host), "{host}");
        }
        assert!(!identity.is_valid_for("example.org"));
        let validity = identity.validity();
        assert_eq!(validity.from, now as i64 - 3600);
        assert_eq!(validity.until, now as i64 + 10 * 24 * 3600);
        let fingerprint = identity.fingerprint();
        assert_eq!(fingerprint.len(), 32 * 3 - 1);
        let another = tls::parse(&self_signed(&hosts, now, 10).unwrap()).unwrap();
        assert_ne!(fingerprint, another.fingerprint());
    }

    #[test]
    fn the_certificate_of_a_challenge_contains_the_digest() {
        let made = challenge("talk.example.org", "token.thumbprint").unwrap();
        let wanted = digest(&SHA256, b"token.thumbprint");
        // id-pe-acmeIdentifier, critical (RFC 8737 section 3).
        let begin = [
            6, 8, 0x2b, 6, 1, 5, 5, 7, 1, 0x1f, 1, 1, 0xff, 4, 0x22, 4, 0x20,
        ];
        let extension = [&begin, wanted.as_ref()].concat();
        let held = made.cert[0].windows(extension.len());
        assert!(held.into_iter().any(|bytes| bytes == extension));
    }

    #[test]
    fn an_invalid_name_or_time_is_an_error() {
        for (hosts, now) in [("tälk.example.org", 0), ("localhost", u64::MAX)] {
            assert!(self_signed(&[hosts.to_owned()], now, 1).is_err(), "{hosts}");
        }
    }
}
