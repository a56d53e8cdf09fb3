//! How the server is reached.

use std::path::PathBuf;

use crate::config::{self, StoreUrl};
use crate::secret::Secret;

/// The settings of a store on PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    pub url: StoreUrl,
    /// Replaces the password of the URL.
    pub password: Option<Secret>,
    /// Certificates of the authorities that are trusted; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Maximum number of connections.
    pub max_connections: usize,
}

impl PostgresOptions {
    /// Returns the options that the settings name; `None` if the store is SQLite.
    pub fn configured(settings: &config::Store) -> Option<PostgresOptions> {
        settings.url.clone().map(|url| PostgresOptions {
            url,
            password: settings.password.clone(),
            ca_file: settings.ca_file.clone(),
            max_connections: settings.max_connections,
        })
    }
}
