//! The account and the certificate in the database, encrypted.

use instant_acme::AccountCredentials;

use crate::data_dir::DataDir;
use crate::secret::Secret;
use crate::storage::{AcmeValue, SharedAcme, StoreError};
use crate::tls::{self, Identity};

use super::error::OrderError;
use super::seal::Sealer;
use super::settings::AcmeSettings;
use super::storage::AcmeStorage;

/// The shared storage of all processes with this database and `auth.secret`.
pub struct SharedStorage {
    pub(super) acme: SharedAcme,
    /// The secrets of the keys, the current one first.
    secrets: Vec<Secret>,
    sealer: Sealer,
    /// Of the previous secrets, which open what was stored before a change of the secret.
    previous: Vec<Sealer>,
}

impl SharedStorage {
    /// `secrets` are the current one, and then the previous ones.
    ///
    /// # Errors
    /// There is no secret, or the keys could not be derived.
    pub fn new(acme: SharedAcme, secrets: Vec<Secret>) -> Result<SharedStorage, KeyError> {
        let sealers: Result<Vec<_>, _> = secrets.iter().map(Sealer::new).collect();
        let mut sealers = sealers.map_err(|_| KeyError)?.into_iter();
        let sealer = sealers.next().ok_or(KeyError)?;
        Ok(SharedStorage {
            acme,
            secrets,
            sealer,
            previous: sealers.collect(),
        })
    }

    /// Uses these secrets from now on, if they can be used.
    pub(super) fn set_secrets(&mut self, secrets: Vec<Secret>) {
        if secrets == self.secrets {
            return;
        }
        match SharedStorage::new(self.acme.clone(), secrets) {
            Ok(storage) => *self = storage,
            Err(error) => tracing::error!(%error, "stored certificate cannot be read"),
        }
    }

    /// Returns the certificate for the settings, if there is one. A first one, and the account, come from the data
    /// directory: of the time before the database, or of a single machine.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn certificate(
        &self,
        settings: &AcmeSettings,
        data_dir: &DataDir,
    ) -> Result<Option<Identity>, StoreError> {
        let files = AcmeStorage::new(data_dir, &settings.directory);
        // A damaged file is as good as none: there is nothing to keep.
        let account = files.account_text().ok().flatten();
        self.set_first(AcmeValue::Account, settings, account)
            .await?;
        let certificate = files.certificate_text(settings).ok().flatten();
        self.set_first(AcmeValue::Certificate, settings, certificate)
            .await?;
        self.stored(settings).await
    }

    /// Stores a value of the data directory, unless there is one.
    async fn set_first(
        &self,
        kind: AcmeValue,
        settings: &AcmeSettings,
        text: Option<Secret>,
    ) -> Result<(), StoreError> {
        if let Some(text) = text
            && self.value(kind, settings).await?.is_none()
        {
            self.store_first(kind, settings, &text).await?;
        }
        Ok(())
    }

    /// Stores a value with the current secret, unless another process has.
    async fn store_first(
        &self,
        kind: AcmeValue,
        settings: &AcmeSettings,
        text: &Secret,
    ) -> Result<(), StoreError> {
        let scope = self.sealer.scope(kind, settings);
        match self.sealer.seal(&scope, text) {
            Ok(sealed) => self.acme.set_value(&scope, kind, &sealed, false).await,
            // Cannot happen in practice; then a new one is requested.
            Err(_) => Ok(()),
        }
    }

    /// Returns a stored value. One of a previous secret is stored once more, with the current secret.
    async fn value(
        &self,
        kind: AcmeValue,
        settings: &AcmeSettings,
    ) -> Result<Option<Secret>, StoreError> {
        let scope = self.sealer.scope(kind, settings);
        if let Some(sealed) = self.acme.value(&scope, kind).await? {
            let text = self.sealer.open(&scope, &sealed);
            if text.is_none() {
                let error = "it was changed in the database";
                tracing::error!(
                    error,
                    "stored certificate is unusable: requesting a new one"
                );
            }
            return Ok(text);
        }
        for sealer in &self.previous {
            let scope = sealer.scope(kind, settings);
            let sealed = self.acme.value(&scope, kind).await?;
            if let Some(text) = sealed.and_then(|sealed| sealer.open(&scope, &sealed)) {
                self.store_first(kind, settings, &text).await?;
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// Returns the stored certificate for the settings, if it is valid for them.
    pub(super) async fn stored(
        &self,
        settings: &AcmeSettings,
    ) -> Result<Option<Identity>, StoreError> {
        let text = self.value(AcmeValue::Certificate, settings).await?;
        let parsed = text.and_then(|text| tls::parse(text.expose()).ok());
        Ok(parsed.filter(|identity| settings.covered_by(identity)))
    }

    pub(super) async fn account(
        &self,
        settings: &AcmeSettings,
    ) -> Result<Option<AccountCredentials>, OrderError> {
        let text = self.value(AcmeValue::Account, settings).await;
        let text = text.map_err(OrderError::local)?;
        Ok(text.and_then(|text| serde_json::from_str(text.expose()).ok()))
    }

    pub(super) async fn set_account(
        &self,
        settings: &AcmeSettings,
        account: &AccountCredentials,
    ) -> Result<(), OrderError> {
        let scope = self.sealer.scope(AcmeValue::Account, settings);
        let text = Secret::new(serde_json::to_string(account).map_err(OrderError::local)?);
        let sealed = self.seal(&scope, &text)?;
        let stored = self
            .acme
            .set_value(&scope, AcmeValue::Account, &sealed, true);
        stored.await.map_err(OrderError::local)
    }

    /// Deletes an account that the authority no longer knows.
    pub(super) async fn delete_account(&self, settings: &AcmeSettings) -> Result<(), OrderError> {
        let scope = self.sealer.scope(AcmeValue::Account, settings);
        let deleted = self.acme.delete_value(&scope, AcmeValue::Account);
        deleted.await.map_err(OrderError::local)
    }

    pub(super) fn certificate_scope(&self, settings: &AcmeSettings) -> String {
        self.sealer.scope(AcmeValue::Certificate, settings)
    }

    pub(super) fn seal(&self, scope: &str, text: &Secret) -> Result<Vec<u8>, OrderError> {
        let sealed = self.sealer.seal(scope, text);
        sealed.map_err(|_| OrderError::local("a key could not be encrypted"))
    }
}

/// The keys for the database could not be derived.
#[derive(Debug, thiserror::Error)]
#[error("the key for stored certificates could not be derived from auth.secret")]
pub struct KeyError;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::storage::Store;
    use crate::storage::tests::connect;
    use crate::storage::tests::server::{Database, server};

    fn settings() -> AcmeSettings {
        AcmeSettings {
            domains: vec!["talk.example.org".to_owned()],
            directory: "https://ca.example/dir".to_owned(),
            contact: None,
            ca_file: None,
        }
    }

    fn issued() -> Secret {
        let from = clock::now().unix - 3600;
        Secret::new(tls::self_signed(&settings().domains, from, 90).unwrap())
    }

    /// A data directory with a certificate.
    fn data_dir(place: &tempfile::TempDir) -> (DataDir, Identity) {
        let data_dir = DataDir::open(place.path()).unwrap();
        let directory = &settings().directory;
        let stored = AcmeStorage::new(&data_dir, directory).store_certificate(issued());
        (data_dir, stored.unwrap())
    }

    async fn database() -> (Database, Store) {
        let database = server().create(None);
        let store = connect(&database).await.unwrap();
        (database, store)
    }

    fn storage(store: &Store, secrets: &[&str]) -> SharedStorage {
        let secrets = secrets.iter().map(|text| Secret::new(*text)).collect();
        SharedStorage::new(store.acme().unwrap(), secrets).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_certificate_of_a_data_directory_is_the_first_one_and_replaces_none() {
        let (_database, store) = database().await;
        let places = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [(first, identity), (second, other)] = [&places[0], &places[1]].map(data_dir);
        assert_ne!(identity, other);
        let storage = storage(&store, &["secret"]);
        for data_dir in [&first, &second] {
            let used = storage.certificate(&settings(), data_dir).await.unwrap();
            assert_eq!(used.as_ref(), Some(&identity));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_certificate_of_a_previous_secret_is_stored_once_more_with_the_current_one() {
        let (_database, store) = database().await;
        let place = tempfile::tempdir().unwrap();
        let (data_dir, identity) = data_dir(&place);
        let former = storage(&store, &["former"]);
        former.certificate(&settings(), &data_dir).await.unwrap();
        let stored = async |storage: &SharedStorage| storage.stored(&settings()).await.unwrap();
        assert_eq!(stored(&storage(&store, &["current"])).await, None);
        let mut changing = storage(&store, &["current"]);
        changing.set_secrets(["current", "former"].map(Secret::new).into());
        assert_eq!(stored(&changing).await, Some(identity.clone()));
        assert_eq!(
            stored(&storage(&store, &["current"])).await,
            Some(identity.clone())
        );
        // The nodes that have the former secret still read theirs.
        assert_eq!(stored(&former).await, Some(identity));
    }

    #[tokio::test]
    async fn a_certificate_that_another_program_changed_is_not_used() {
        let (_database, store) = database().await;
        let storage = storage(&store, &["secret"]);
        let scope = storage.certificate_scope(&settings());
        let sealed = storage.seal(&scope, &issued()).unwrap();
        let kind = AcmeValue::Certificate;
        storage
            .acme
            .set_value(&scope, kind, &sealed, true)
            .await
            .unwrap();
        assert!(storage.stored(&settings()).await.unwrap().is_some());
        let changed = [&sealed[..], b"0"].concat();
        storage
            .acme
            .set_value(&scope, kind, &changed, true)
            .await
            .unwrap();
        assert_eq!(storage.stored(&settings()).await.unwrap(), None);
    }
}
