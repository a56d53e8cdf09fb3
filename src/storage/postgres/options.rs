//! How the server is reached.

use std::path::PathBuf;

use crate::config::StoreUrl;
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
