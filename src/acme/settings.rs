//! Which certificate is requested from which authority.

use std::path::PathBuf;

use crate::config::{self, Config};
use crate::tls::Identity;

/// The domains of the certificate, and the authority that issues it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// At least one, in lower case.
    pub domains: Vec<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// An e-mail address.
    pub contact: Option<String>,
    /// The root certificate of the authority's own server, unless the system trusts it.
    pub ca_file: Option<PathBuf>,
}

impl AcmeSettings {
    pub fn from_config(config: &Config) -> AcmeSettings {
        AcmeSettings {
            domains: config::acme_domains(config),
            directory: config::acme_directory(&config.tls).to_owned(),
            contact: config.tls.acme_contact.clone(),
            ca_file: config.tls.acme_ca_file.clone(),
        }
    }

    /// Whether `identity` is valid for all domains.
    pub fn covered_by(&self, identity: &Identity) -> bool {
        self.domains
            .iter()
            .all(|domain| identity.is_valid_for(domain))
    }
}
