//! The secrets of the server.

use crate::config::Config;
use crate::credential::Credentials;
use crate::data_dir::{DataDir, DataDirError, SecretFile};
use crate::secret::Secret;
use crate::token::Tokens;

/// The reason why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretsError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(
        "cluster.redis_url needs {key} with the same value on all nodes: copy the file {key} of the data directory \
         of one of them, and pass it by the unit (LoadCredential={key}:FILE) or name it in {key}_file"
    )]
    NotShared { key: &'static str },
}

/// The secrets for tokens and TURN credentials: configured, or else from the data directory. The latter are
/// read once and stay the same until the process ends.
pub(super) struct Secrets {
    data_dir: DataDir,
    auth: Option<Secret>,
    turn: Option<Secret>,
}

impl Secrets {
    pub(super) fn new(data_dir: DataDir) -> Secrets {
        Secrets {
            data_dir,
            auth: None,
            turn: None,
        }
    }

    pub(super) fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// Returns the secret of tokens for a configuration, and then the previous ones.
    ///
    /// # Errors
    /// A secret could not be generated or read, or a node of a cluster has none.
    pub(super) fn auth_secrets(&mut self, config: &Config) -> Result<Vec<Secret>, SecretsError> {
        require_shared(config)?;
        let (auth, dir) = (&config.auth, &self.data_dir);
        let secret = configured_or_stored(&auth.secret, &mut self.auth, dir, SecretFile::Auth)?;
        let previous = auth.previous_secrets.iter().cloned();
        Ok(std::iter::once(secret).chain(previous).collect())
    }

    /// Returns the issuers of tokens and credentials for a configuration.
    ///
    /// # Errors
    /// A secret could not be generated or read, or a node of a cluster has none.
    pub(super) fn tokens_and_credentials(
        &mut self,
        config: &Config,
    ) -> Result<(Tokens, Credentials), SecretsError> {
        require_shared(config)?;
        let (auth, turn) = (&config.auth, &config.turn);
        let dir = &self.data_dir;
        let secret = configured_or_stored(&auth.secret, &mut self.auth, dir, SecretFile::Auth)?;
        let tokens = Tokens::new(auth, &secret);
        let secret = configured_or_stored(&turn.secret, &mut self.turn, dir, SecretFile::Turn)?;
        Ok((tokens, Credentials::new(&secret, &turn.previous_secrets)))
    }
}

/// Checks that a node of a cluster has secrets from its settings: it must not generate its own.
pub(super) fn require_shared(config: &Config) -> Result<(), SecretsError> {
    match config.missing_secrets_of_nodes().first() {
        Some(&key) => Err(SecretsError::NotShared { key }),
        None => Ok(()),
    }
}

fn configured_or_stored(
    configured: &Option<Secret>,
    known: &mut Option<Secret>,
    dir: &DataDir,
    file: SecretFile,
) -> Result<Secret, DataDirError> {
    match (configured, &known) {
        (Some(secret), _) => Ok(secret.clone()),
        (None, Some(secret)) => Ok(secret.clone()),
        (None, None) => Ok(known.insert(dir.secret(file)?).clone()),
    }
}
