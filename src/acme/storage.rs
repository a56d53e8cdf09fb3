//! What is kept of an authority: the account there, and the certificate with its key. Each authority
//! has files of its own, so that trying another loses nothing.

use instant_acme::AccountCredentials;
use ring::digest::{SHA256, digest};

use crate::data_dir::{DataDir, DataDirError};
use crate::secret::Secret;
use crate::tls::{self, Identity};

use super::order::OrderError;
use super::schedule::Failure;

pub struct AcmeStorage<'a> {
    data_dir: &'a DataDir,
    /// Tells the authority from others.
    tag: String,
}

impl AcmeStorage<'_> {
    pub fn new<'a>(data_dir: &'a DataDir, directory: &str) -> AcmeStorage<'a> {
        let digest = digest(&SHA256, directory.as_bytes());
        let tag = digest.as_ref().iter().take(4);
        AcmeStorage {
            data_dir,
            tag: tag.map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    fn account_file(&self) -> String {
        format!("acme-{}.account", self.tag)
    }

    fn certificate_file(&self) -> String {
        format!("acme-{}.pem", self.tag)
    }

    /// The account, where there is one that can be used.
    pub fn account(&self) -> Result<Option<AccountCredentials>, DataDirError> {
        let kept = self.data_dir.read_file(&self.account_file())?;
        Ok(kept.and_then(|kept| serde_json::from_str(kept.expose()).ok()))
    }

    pub fn store_account(&self, account: &AccountCredentials) -> Result<(), OrderError> {
        let text = serde_json::to_string(account).map_err(OrderError::local)?;
        let kept = self
            .data_dir
            .write_file(&self.account_file(), &Secret::new(text));
        kept.map_err(OrderError::local)
    }

    /// The authority does not know it any more.
    pub fn delete_account(&self) {
        if let Err(error) = self.data_dir.remove_file(&self.account_file()) {
            tracing::debug!(%error, "an account that is of no use stays");
        }
    }

    /// The certificate, where there is one that can be used.
    pub fn certificate(&self) -> Result<Option<Identity>, DataDirError> {
        let kept = self.data_dir.read_file(&self.certificate_file())?;
        Ok(kept.and_then(|kept| tls::parse(kept.expose()).ok()))
    }

    /// Keeps a chain of certificates and its key, where they are sound.
    pub fn store_certificate(&self, pem: Secret) -> Result<Identity, OrderError> {
        let identity = tls::parse(pem.expose()).map_err(|why| {
            let reason = format!("what the authority has issued {why}");
            OrderError::new(Failure::Rejected, &reason)
        })?;
        let kept = tokio::task::block_in_place(|| {
            self.data_dir.write_file(&self.certificate_file(), &pem)
        });
        // Without a disk it is good until the next start.
        if let Err(error) = kept {
            tracing::error!(%error, "the certificate can't be kept");
        }
        Ok(identity)
    }
}
