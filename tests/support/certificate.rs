//! Certificates of an authority of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// The certificate authority that clients of the test trust.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of another name than what it signs, or OpenSSL takes that for self-signed.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "An authority of the tests");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A client configuration that trusts this authority alone.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_for(rustls::DEFAULT_VERSIONS)
    }

    /// A client configuration that trusts this authority alone, for these versions of TLS.
    pub(crate) fn client_for(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM");
        roots.add(root).expect("a certificate");
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// The SPKI hash by which Chromium is configured to trust a key.
    pub(crate) fn spki_of(key: &Path) -> String {
        let pem = fs::read_to_string(key).expect("a key");
        let key = KeyPair::from_pem(&pem).expect("a key in PEM");
        let digest = digest(&SHA256, &key.subject_public_key_info());
        STANDARD.encode(digest)
    }

    /// Writes `cert.pem` and `key.pem` for these names and addresses into a directory.
    pub(crate) fn issue(&self, dir: &Path, names: &[&str]) -> (PathBuf, PathBuf) {
        self.write(dir, params(names))
    }

    /// The same, valid in the year 2020 alone.
    pub(crate) fn issue_expired(&self, dir: &Path, names: &[&str]) -> (PathBuf, PathBuf) {
        let mut params = params(names);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.write(dir, params)
    }

    fn write(&self, dir: &Path, mut params: CertificateParams) -> (PathBuf, PathBuf) {
        params.is_ca = IsCa::ExplicitNoCa;
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let paths = (dir.join("cert.pem"), dir.join("key.pem"));
        // A complete chain: `parlor check` warns of a chain without the issuer.
        fs::write(&paths.0, cert.pem() + &self.pem).expect("a certificate is written");
        fs::write(&paths.1, key.serialize_pem()).expect("a key is written");
        paths
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).expect("names")
}
