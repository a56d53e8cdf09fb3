//! Stores the account, and the certificate with its key, in the data directory. Each authority has files
//! of its own, so that a change of the authority loses nothing.

use instant_acme::AccountCredentials;
use ring::digest::{SHA256, digest};

use crate::data_dir::{DataDir, DataDirError};
use crate::secret::Secret;
use crate::tls::{self, Identity};

use super::error::OrderError;
use super::schedule::Failure;
use super::settings::AcmeSettings;

/// The files of one authority.
pub(super) struct AcmeStorage<'a> {
    data_dir: &'a DataDir,
    /// Identifies the authority in file names.
    tag: String,
}

impl AcmeStorage<'_> {
    pub(super) fn new<'a>(data_dir: &'a DataDir, directory: &str) -> AcmeStorage<'a> {
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

    /// Returns the stored account; `None` if there is no valid one.
    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, DataDirError> {
        let stored = self.data_dir.read_file(&self.account_file())?;
        Ok(stored.and_then(|stored| serde_json::from_str(stored.expose()).ok()))
    }

    /// Returns the text of the account, if it is valid.
    pub(super) fn account_text(&self) -> Result<Option<Secret>, DataDirError> {
        let stored = self.data_dir.read_file(&self.account_file())?;
        Ok(stored.filter(|text| serde_json::from_str::<AccountCredentials>(text.expose()).is_ok()))
    }

    /// Returns the text of the certificate, if it is valid for the settings.
    pub(super) fn certificate_text(
        &self,
        settings: &AcmeSettings,
    ) -> Result<Option<Secret>, DataDirError> {
        let stored = self.data_dir.read_file(&self.certificate_file())?;
        Ok(stored.filter(|text| {
            tls::parse(text.expose()).is_ok_and(|identity| settings.covered_by(&identity))
        }))
    }

    pub(super) fn store_account(&self, account: &AccountCredentials) -> Result<(), OrderError> {
        let text = serde_json::to_string(account).map_err(OrderError::local)?;
        let stored = self
            .data_dir
            .write_file(&self.account_file(), &Secret::new(text));
        stored.map_err(OrderError::local)
    }

    /// Deletes an account that the authority no longer knows.
    pub(super) fn delete_account(&self) {
        if let Err(error) = self.data_dir.remove_file(&self.account_file()) {
            tracing::debug!(%error, "an unknown ACME account cannot be deleted");
        }
    }

    /// Returns the stored certificate; `None` if there is no valid one.
    pub(super) fn certificate(&self) -> Result<Option<Identity>, DataDirError> {
        let stored = self.data_dir.read_file(&self.certificate_file())?;
        Ok(stored.and_then(|stored| tls::parse(stored.expose()).ok()))
    }

    /// Stores a certificate chain and its key.
    ///
    /// # Errors
    /// They are invalid. If the disk fails, the certificate is used until the next start.
    pub(super) fn store_certificate(&self, pem: Secret) -> Result<Identity, OrderError> {
        let identity = tls::parse(pem.expose()).map_err(|why| {
            let reason = format!("the response of the authority {why}");
            OrderError::new(Failure::Rejected, &reason)
        })?;
        let stored = tokio::task::block_in_place(|| {
            self.data_dir.write_file(&self.certificate_file(), &pem)
        });
        if let Err(error) = stored {
            tracing::error!(%error, "certificate could not be stored");
        }
        Ok(identity)
    }
}
